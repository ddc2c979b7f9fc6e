//! From the input to the publisher: what is at hand is taken, gathered, and sent.

use securemqtt_cli::exit::Outcome;
use securemqtt_client::mqtt::LinkErrorKind;
use securemqtt_client::publisher::PublishError;

use super::App;
use crate::input::{Item, Items};

/// Readings that are taken before anything else is listened to.
const MAX_AT_ONCE: usize = 64;

/// How much of what was at hand was taken. In a flood there is more: what was taken then goes out with that, in fewer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    All,
    Part,
}

impl App {
    /// Takes one item, and those that are at hand behind it while there is room.
    pub(super) fn take_all(&mut self, first: Item) -> Outcome<Taken> {
        let mut item = first;
        for left in (0..MAX_AT_ONCE).rev() {
            if self.take(item)? {
                self.send()?;
            }
            if left == 0 || !self.publisher.is_ready() {
                break;
            }
            let Some(next) = self.input.as_mut().and_then(Items::at_hand) else { return Ok(Taken::All) };
            item = next?;
        }
        Ok(Taken::Part)
    }

    /// Takes one item; true when it is time to send.
    fn take(&mut self, item: Item) -> Outcome<bool> {
        match item {
            Item::Reading(reading) => Ok(self.batch.add(reading)),
            Item::Skipped(skipped) => {
                self.bad += 1;
                self.warn.say(skipped)?;
                Ok(false)
            }
        }
    }

    /// Sends what was gathered.
    pub(super) fn send(&mut self) -> Outcome<()> {
        let readings = self.batch.take();
        if readings.len() > 1 {
            let payloads: Vec<&[u8]> = readings.iter().map(|reading| reading.payload.as_slice()).collect();
            match self.publisher.publish(&self.topic, &payloads, self.qos, self.retain) {
                // Too much for the broker: one by one.
                Err(PublishError::Link(error)) if error.kind() == LinkErrorKind::Message => {}
                published => return self.count(published, readings.len(), None),
            }
        }
        for reading in readings {
            let published = self.publisher.publish(&self.topic, &[&reading.payload], self.qos, self.retain);
            self.count(published, 1, reading.line)?;
        }
        Ok(())
    }

    fn count(&mut self, published: Result<(), PublishError>, readings: usize, line: Option<u64>) -> Outcome<()> {
        match published {
            Ok(()) => self.sent += readings,
            Err(PublishError::Link(error)) if error.kind() != LinkErrorKind::Message => return Err(error.into()),
            // These readings cannot go; others can.
            Err(error) => {
                self.bad += readings;
                let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
                self.warn.say(format_args!("{line}{error}; not published"))?;
            }
        }
        Ok(())
    }
}
