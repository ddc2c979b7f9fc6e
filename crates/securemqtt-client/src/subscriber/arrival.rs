//! What a message brings: the readings that are handed to the program, each with how it came.

use std::time::{Duration, Instant, SystemTime};

use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::{Delivery, Qos};

use super::{Subscriber, Told};
use crate::error::ClientError;
use crate::mqtt::{AckToken, Message};
use crate::parked::Came;

/// After kill -9, what comes so soon after the first connection may have been put out before: brokers begin with what
/// was under way, and not all of them mark it.
const MAYBE_SHOWN: Duration = Duration::from_secs(2);

/// A message from the broker with the readings that it brought: none, one, or those that waited. Or readings that waited
/// for the time to pass, without a message.
#[derive(Debug)]
pub struct Arrival {
    /// When it arrived.
    pub at: SystemTime,
    /// How long the engine took; nothing where [`Settings::times`](super::Settings::times) is not set.
    pub elapsed: Duration,
    /// The readings.
    pub readings: Vec<Reading>,
    /// Give it to [`Subscriber::commit`] when the readings are out.
    pub ack: Option<AckToken>,
}

impl Arrival {
    /// How long each reading took.
    pub fn decrypt_time(&self) -> Duration {
        self.elapsed / u32::try_from(self.readings.len().max(1)).unwrap_or(u32::MAX)
    }
}

/// A reading, and how the broker delivered its own frame: one that waited for a key came before the message that
/// opened it.
#[derive(Debug)]
pub struct Reading {
    /// What verified.
    pub delivery: Delivery,
    /// The quality of service of the frame's delivery.
    pub qos: Qos,
    /// Whether the broker had the frame stored.
    pub retain: bool,
    /// Whether the last run may have put it out already, before it was killed.
    pub redelivered: bool,
}

impl Subscriber {
    pub(super) fn arrive(&mut self, message: &Message) -> Result<(), ClientError> {
        let moment = self.moment();
        let start = self.times.then(Instant::now);
        self.engine.handle(&message.topic, &message.payload, moment.now, &mut self.rng, &mut self.out);
        let elapsed = start.map_or(Duration::ZERO, |start| start.elapsed());
        let readings = self.readings(message);
        self.outstanding |= !readings.is_empty();
        self.tend(moment);
        self.settle()?;
        let ack = Some(message.ack);
        self.told.push_back(Told::Arrived(Arrival { at: moment.calendar, elapsed, readings, ack }));
        Ok(())
    }

    /// Readings of frames that waited, now that the time has come: an answer that they waited for did not.
    pub(super) fn waited(&mut self) -> Option<Arrival> {
        if self.out.deliveries.is_empty() {
            return None;
        }
        let redelivered = self.was_killed && self.is_early();
        let reading = |delivery: Delivery| {
            let came = self.parked.of(&delivery);
            let Came { qos, retain } = came.unwrap_or(Came { qos: Qos::AtLeastOnce, retain: false });
            Reading { delivery, qos, retain, redelivered: redelivered && qos == Qos::AtLeastOnce }
        };
        let readings = self.out.deliveries.drain(..).map(reading).collect();
        Some(Arrival { at: SystemTime::now(), elapsed: Duration::ZERO, readings, ack: None })
    }

    /// The readings that a message brought: its own, or those of frames that were parked before.
    fn readings(&mut self, message: &Message) -> Vec<Reading> {
        let own = Came { qos: message.qos, retain: message.retain };
        let redelivered = self.may_have_shown(message);
        let is_frame = !message.topic.starts_with(CONTROL_PREFIX);
        let reading = |delivery: Delivery| {
            let parked = if is_frame { None } else { self.parked.of(&delivery) };
            let Came { qos, retain } = parked.unwrap_or(own);
            Reading { delivery, qos, retain, redelivered: redelivered && qos == Qos::AtLeastOnce }
        };
        let readings: Vec<Reading> = self.out.deliveries.drain(..).map(reading).collect();
        match self.engine.parked() {
            0 => self.parked.clear(),
            _ if is_frame && readings.is_empty() => self.parked.note(message),
            _ => {}
        }
        readings
    }

    /// What was put out and not stored when we were killed comes again, first of all and mostly marked by the broker.
    fn may_have_shown(&self, message: &Message) -> bool {
        self.was_killed && (message.dup || self.is_early())
    }

    fn is_early(&self) -> bool {
        self.first_connected.is_none_or(|at| at.elapsed() < MAYBE_SHOWN)
    }
}
