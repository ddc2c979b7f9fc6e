//! The subscriber's driver: the engine, the link and the state directory.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use securemqtt_core::Delivery;
use securemqtt_core::Qos;
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::subscriber::{Config, Event, Output, Subscriber as Engine};
use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::trust::Trust;

use crate::clock::{Clock, OsRng, rng};
use crate::error::ClientError;
use crate::mqtt::{AckToken, BrokerOptions, LinkError, LinkEvent, Message};
use crate::notice::{Notice, Trouble, remember};
use crate::parked::{Came, Parked};
use crate::pump::{Pump, Wake};
use crate::state::{CounterLease, PeersFile};

/// What a subscriber is made of.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: BrokerOptions,
    /// Who we are.
    pub identity: IdentityKey,
    /// Whom we trust.
    pub trust: Trust,
    /// What the engine reads.
    pub engine: Config,
    /// The quality of service that readings are subscribed with.
    pub qos: Qos,
    /// Where new peers are remembered.
    pub peers: PeersFile,
    /// Our counter on disk.
    pub counter: CounterLease,
}

/// Something to tell, or a message to put out and acknowledge.
#[derive(Debug)]
pub enum Told {
    /// Something to tell.
    Notice(Notice<Event>),
    /// A message was dealt with.
    Arrived(Arrival),
}

/// A message from the broker with the readings that it brought: none, one, or those that waited for a key.
#[derive(Debug)]
pub struct Arrival {
    /// When it arrived.
    pub at: SystemTime,
    /// How long the engine took.
    pub elapsed: Duration,
    /// The readings.
    pub readings: Vec<Reading>,
    /// Give it to [`Subscriber::acknowledge`] when the readings are safe.
    pub ack: AckToken,
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
}

/// A running subscriber: [`Subscriber::next`] drives everything.
#[derive(Debug)]
pub struct Subscriber {
    engine: Engine,
    pump: Pump,
    clock: Clock,
    rng: OsRng,
    qos: Qos,
    peers: PeersFile,
    counter: CounterLease,
    out: Output,
    told: VecDeque<Told>,
    parked: Parked,
}

impl Subscriber {
    /// Starts to connect. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the broker's options cannot work.
    pub fn start(settings: Settings) -> Result<Self, ClientError> {
        let sctr = settings.counter.reserved();
        Ok(Self {
            engine: Engine::new(settings.identity, settings.trust, settings.engine, sctr),
            pump: Pump::start(settings.broker)?,
            clock: Clock::start(),
            rng: rng(),
            qos: settings.qos,
            peers: settings.peers,
            counter: settings.counter,
            out: Output::default(),
            told: VecDeque::new(),
            parked: Parked::default(),
        })
    }

    /// The engine, to be asked.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Drives the subscriber until there is something to tell. Safe to be cancelled.
    ///
    /// # Errors
    /// When the link has ended for good, or our counter cannot be made durable.
    pub async fn next(&mut self) -> Result<Told, ClientError> {
        loop {
            if let Some(told) = self.try_next()? {
                return Ok(told);
            }
            let due = self.clock.instant(self.engine.next_poll_ms()).min(self.peers.next_look());
            let wake = self.pump.wake(due).await?;
            self.take(wake)?;
        }
    }

    /// What there is to tell at once; `None` means that now is the time to flush and to acknowledge.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn try_next(&mut self) -> Result<Option<Told>, ClientError> {
        while self.told.is_empty() {
            let Some(wake) = self.pump.try_wake() else { return Ok(None) };
            self.take(wake)?;
        }
        Ok(self.told.pop_front())
    }

    /// Acknowledges a message whose readings are safe.
    pub fn acknowledge(&self, ack: AckToken) {
        self.pump.link.ack(ack);
    }

    /// A person's answer to [`Event::AskPeer`].
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn decide(&mut self, id: PeerId, allow: bool) -> Result<(), ClientError> {
        self.engine.decide(id, allow, self.clock.now(), &mut self.rng, &mut self.out);
        self.settle()
    }

    /// Reads known_peers again now, whether or not it seems changed.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn reload(&mut self) -> Result<(), ClientError> {
        match self.peers.load() {
            Ok(known) => self.engine.set_known(known),
            Err(error) => self.tell(Notice::Trouble(Trouble::NotReloaded { why: error.to_string() })),
        }
        self.settle()
    }

    /// Ends cleanly: what is under way for at most `patience`, then DISCONNECT.
    pub async fn finish(mut self, patience: Duration) {
        let drained = tokio::time::timeout(patience, async {
            self.pump.flush().await.is_ok() && self.pump.link.drain(patience).await
        });
        // Acknowledgements that stay behind are made again: the broker delivers once more.
        let _ = drained.await;
        self.pump.link.disconnect().await;
    }

    fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => self.tend(),
            Wake::Ended => return Err(LinkError::closed().into()),
            Wake::Event(LinkEvent::Failed(error)) => return Err(error.into()),
            Wake::Event(LinkEvent::Connected { .. }) => {
                let filters = self.engine.filters();
                self.engine.connected(self.clock.now(), &mut self.rng);
                self.tell(Notice::Connected);
                self.subscribe(filters)?;
            }
            Wake::Event(LinkEvent::Message(message)) => return self.arrive(&message),
            Wake::Event(other) => {
                if let Some(trouble) = Trouble::of(other) {
                    self.tell(Notice::Trouble(trouble));
                }
            }
        }
        self.settle()
    }

    /// What is due by the clock. Called for every message too: under load there is always another one, and what is due
    /// must not wait for a pause. It costs two comparisons while nothing is due.
    fn tend(&mut self) {
        if Instant::now() >= self.peers.next_look() {
            self.reload_if_changed();
        }
        self.engine.poll(self.clock.now(), &mut self.rng, &mut self.out);
    }

    /// Somebody may have edited known_peers, to revoke a peer for example.
    fn reload_if_changed(&mut self) {
        match self.peers.load_if_changed() {
            Ok(Some(known)) => self.engine.set_known(known),
            Ok(None) => {}
            Err(error) => self.tell(Notice::Trouble(Trouble::NotReloaded { why: error.to_string() })),
        }
    }

    fn arrive(&mut self, message: &Message) -> Result<(), ClientError> {
        let now = self.clock.now();
        let start = Instant::now();
        self.engine.handle(&message.topic, &message.payload, now, &mut self.rng, &mut self.out);
        let elapsed = start.elapsed();
        let deliveries = std::mem::take(&mut self.out.deliveries);
        let readings = self.readings(message, deliveries);
        self.tend();
        self.settle()?;
        self.told.push_back(Told::Arrived(Arrival { at: SystemTime::now(), elapsed, readings, ack: message.ack }));
        Ok(())
    }

    /// The readings that a message brought: its own, or those of frames that were parked before.
    fn readings(&mut self, message: &Message, deliveries: Vec<Delivery>) -> Vec<Reading> {
        let own = Came { qos: message.qos, retain: message.retain };
        let is_frame = !message.topic.starts_with(CONTROL_PREFIX);
        let reading = |delivery: Delivery| {
            let parked = if is_frame { None } else { self.parked.of(&delivery) };
            let Came { qos, retain } = parked.unwrap_or(own);
            Reading { delivery, qos, retain }
        };
        let readings: Vec<Reading> = deliveries.into_iter().map(reading).collect();
        match self.engine.parked() {
            0 => self.parked.clear(),
            _ if is_frame && readings.is_empty() => self.parked.note(message),
            _ => {}
        }
        readings
    }

    fn tell(&mut self, notice: Notice<Event>) {
        self.told.push_back(Told::Notice(notice));
    }

    fn subscribe(&mut self, filters: Vec<String>) -> Result<(), ClientError> {
        let (control, readings): (Vec<String>, Vec<String>) =
            filters.into_iter().partition(|filter| filter.starts_with(CONTROL_PREFIX));
        self.pump.subscribe(control, Qos::AtLeastOnce)?;
        self.pump.subscribe(readings, self.qos)
    }

    /// Passes on what the engine has left: the counter first, for nothing may be sent before it is durable.
    fn settle(&mut self) -> Result<(), ClientError> {
        if let Some(upto) = self.out.reserve_counter.take() {
            self.counter.reserve(upto)?;
        }
        let filters = std::mem::take(&mut self.out.subscribe);
        self.subscribe(filters)?;
        self.pump.send(self.out.send.drain(..));
        for event in std::mem::take(&mut self.out.events) {
            if let Event::NewPeer { name, key } = &event {
                let trouble = remember(&mut self.peers, name, key);
                self.told.extend(trouble.map(|trouble| Told::Notice(Notice::Trouble(trouble))));
            }
            self.tell(Notice::Event(event));
        }
        Ok(())
    }
}
