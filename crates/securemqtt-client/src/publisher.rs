//! The publisher's driver: the engine, the link and the state directory.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::publisher::{Config, Event, Output, Publisher as Engine, SealError};
use securemqtt_core::trust::Trust;
use securemqtt_core::{Now, Outgoing, Qos};

use crate::clock::{Clock, OsRng, rng};
use crate::error::ClientError;
use crate::mqtt::{BrokerOptions, LinkError, LinkEvent};
use crate::notice::{Notice, Trouble, remember};
use crate::pump::{Pump, Wake};
use crate::state::{PeersFile, StateError};

/// The most that sealing adds: header, tag and signature.
const OVERHEAD: usize = 12 + 16 + 64;

/// What a publisher is made of.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: BrokerOptions,
    /// Who we are.
    pub identity: IdentityKey,
    /// Whom we trust.
    pub trust: Trust,
    /// How the engine behaves.
    pub engine: Config,
    /// Where new peers are remembered.
    pub peers: PeersFile,
}

/// Why one reading was not published.
#[derive(Debug)]
pub enum PublishError {
    /// It could not be sealed.
    Seal(SealError),
    /// The broker does not take it; see [`LinkError::kind`] for whether anything else would go.
    Link(LinkError),
    /// The driver has ended.
    Client(ClientError),
}

impl std::fmt::Display for PublishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seal(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}

/// How a publisher has ended.
#[derive(Debug)]
pub struct Finished {
    /// Whether the broker has answered everything.
    pub drained: bool,
    /// What it refused at the last.
    pub refused: Vec<Trouble>,
}

/// A running publisher. Poll [`Publisher::next`] whenever nothing is being published: it drives everything.
#[derive(Debug)]
pub struct Publisher {
    engine: Engine,
    pump: Pump,
    clock: Clock,
    rng: OsRng,
    peers: PeersFile,
    out: Output,
    notices: VecDeque<Notice<Event>>,
}

impl Publisher {
    /// Starts to connect. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the broker's options cannot work.
    pub fn start(settings: Settings) -> Result<Self, ClientError> {
        let clock = Clock::start();
        let mut rng = rng();
        let engine = Engine::new(settings.identity, settings.trust, settings.engine, clock.now(), &mut rng);
        let pump = Pump::start(settings.broker)?;
        let (out, notices) = (Output::default(), VecDeque::new());
        Ok(Self { engine, pump, clock, rng, peers: settings.peers, out, notices })
    }

    /// The engine, to be asked.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether the broker has accepted us and the connection stands.
    pub fn is_connected(&self) -> bool {
        self.pump.is_connected()
    }

    /// Drives the publisher until there is something to tell. Safe to be cancelled.
    ///
    /// # Errors
    /// When the link has ended for good.
    pub async fn next(&mut self) -> Result<Notice<Event>, ClientError> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            let due = self.clock.instant(self.engine.next_poll_ms()).min(self.peers.next_look());
            let wake = self.pump.wake(due).await?;
            self.take(wake)?;
        }
    }

    /// Seals a reading and hands it to the link; waits for room, and goes on listening meanwhile.
    ///
    /// # Errors
    /// When this reading cannot be published, or the link has ended.
    pub async fn publish(&mut self, topic: &str, reading: &[u8], qos: Qos, retain: bool) -> Result<(), PublishError> {
        // Before it is sealed: a sealed reading that is never sent is a missing one.
        self.pump.link.check(topic, reading.len() + OVERHEAD).map_err(PublishError::Link)?;
        let frame = self.engine.seal(topic, reading).map_err(PublishError::Seal)?;
        self.send(topic, frame, qos, retain).await
    }

    /// As [`Publisher::publish`], for several readings in one message.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; when the batch is too large for the broker, publish fewer at once.
    pub async fn publish_batch(
        &mut self,
        topic: &str,
        readings: &[&[u8]],
        qos: Qos,
        retain: bool,
    ) -> Result<(), PublishError> {
        let size: usize = readings.iter().map(|reading| reading.len() + 5).sum();
        self.pump.link.check(topic, size + OVERHEAD).map_err(PublishError::Link)?;
        let frame = self.engine.seal_batch(topic, readings).map_err(PublishError::Seal)?;
        self.send(topic, frame, qos, retain).await
    }

    async fn send(&mut self, topic: &str, frame: Vec<u8>, qos: Qos, retain: bool) -> Result<(), PublishError> {
        // A ratchet step, a rotation or a tick that the sealing made due.
        if self.engine.next_poll_ms() == 0 {
            self.poll();
        }
        let link = self.pump.link.clone();
        let mut sending = std::pin::pin!(link.publish(topic, Bytes::from(frame), qos, retain));
        loop {
            let due = self.clock.instant(self.engine.next_poll_ms()).min(self.peers.next_look());
            tokio::select! {
                biased;
                sent = &mut sending => return sent.map(drop).map_err(PublishError::Link),
                wake = self.pump.wake(due) => {
                    wake.and_then(|wake| self.take(wake)).map_err(PublishError::Client)?;
                }
            }
        }
    }

    /// A person's answer to [`Event::AskPeer`].
    pub fn decide(&mut self, id: PeerId, allow: bool) {
        self.engine.decide(id, allow);
    }

    /// Reads known_peers again now, whether or not it seems changed.
    pub fn reload(&mut self) {
        let loaded = self.peers.load().map(Some);
        self.take_known(loaded, self.clock.now());
        self.settle();
    }

    /// Begins a new stream; [`Engine::rotating`] says which.
    pub fn rotate(&mut self) {
        self.engine.rotate(self.clock.now(), &mut self.rng, &mut self.out);
        self.settle();
    }

    /// Ends cleanly: the last tick, then everything under way for at most `patience`, then DISCONNECT.
    ///
    /// # Errors
    /// When the link has ended for good.
    pub async fn finish(mut self, patience: Duration) -> Result<Finished, ClientError> {
        self.engine.finish(self.clock.now(), &mut self.out);
        self.pump.send(self.out.send.drain(..));
        let drained = tokio::time::timeout(patience, async {
            self.pump.flush().await?;
            Ok::<bool, ClientError>(self.pump.link.drain(patience).await)
        });
        let drained = drained.await.unwrap_or(Ok(false))?;
        self.pump.link.disconnect().await;
        let mut refused = Vec::new();
        while let Some(Wake::Event(event)) = self.pump.try_wake() {
            refused.extend(Trouble::of(event).filter(|trouble| matches!(trouble, Trouble::PublishRefused { .. })));
        }
        Ok(Finished { drained, refused })
    }

    fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => self.poll(),
            Wake::Ended => return Err(LinkError::closed().into()),
            Wake::Event(LinkEvent::Failed(error)) => return Err(error.into()),
            Wake::Event(LinkEvent::Connected { .. }) => {
                self.pump.subscribe(self.engine.filters(), Qos::AtLeastOnce)?;
                self.engine.connected(self.clock.now(), &mut self.out);
                self.notices.push_back(Notice::Connected);
            }
            Wake::Event(LinkEvent::Message(message)) => {
                let now = self.clock.now();
                self.engine.handle(&message.topic, &message.payload, now, &mut self.rng, &mut self.out);
                self.pump.link.ack(message.ack);
            }
            Wake::Event(other) => self.notices.extend(Trouble::of(other).map(Notice::Trouble)),
        }
        self.settle();
        Ok(())
    }

    fn poll(&mut self) {
        let now = self.clock.now();
        // Somebody may have edited it, to revoke a peer for example.
        let loaded = self.peers.load_if_changed();
        self.take_known(loaded, now);
        self.engine.poll(now, &mut self.rng, &mut self.out);
        self.settle();
    }

    fn take_known(&mut self, loaded: Result<Option<KnownPeers>, StateError>, now: Now) {
        match loaded {
            Ok(Some(known)) => self.engine.set_known(known, now, &mut self.rng, &mut self.out),
            Ok(None) => {}
            Err(error) => {
                self.notices.push_back(Notice::Trouble(Trouble::NotReloaded { why: error.to_string() }));
            }
        }
    }

    /// Passes on what the engine has left.
    fn settle(&mut self) {
        let sent: Vec<Outgoing> = self.out.send.drain(..).collect();
        self.pump.send(sent);
        for event in std::mem::take(&mut self.out.events) {
            if let Event::NewPeer { name, key } = &event {
                self.notices.extend(remember(&mut self.peers, name, key).map(Notice::Trouble));
            }
            self.notices.push_back(Notice::Event(event));
        }
    }
}
