//! The publisher's driver: the engine, the link and the state directory.
//!
//! A reading is sealed, stored, then published; what it takes with it (a generation, a session) is stored before. Nothing
//! here waits but [`Publisher::next`], which drives everything.

mod backlog;
mod finish;
mod gate;
mod send;
mod settle;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::publisher::{Config, Event, Output, Publisher as Engine, SealError};
use securemqtt_core::trust::Trust;
use securemqtt_core::{Now, Qos};
use zeroize::Zeroizing;

use crate::clock::{Clock, OsRng, rng};
use crate::error::ClientError;
use crate::mqtt::{BrokerOptions, Link, LinkError, LinkEvent};
use crate::notice::{Notice, Trouble};
use crate::pump::{Pump, Wake};
use crate::state::{Loaded, PeersFile, StateError, Store};
use backlog::{Backlog, Wanted};
use gate::{Gate, Held};

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
    /// The state on disk.
    pub store: Store,
    /// What was found in it.
    pub loaded: Loaded,
    /// What happens when the spool is full.
    pub when_full: WhenFull,
}

/// What happens when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Readings wait.
    Wait,
    /// The oldest gives way.
    DropOldest,
}

/// Why one reading was not published.
#[derive(Debug)]
pub enum PublishError {
    /// It could not be sealed.
    Seal(SealError),
    /// The broker does not take it; see [`LinkError::kind`] for whether anything else would go.
    Link(LinkError),
}

impl std::fmt::Display for PublishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seal(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}

/// What was read from the spool, for what.
type Reading = Pin<Box<dyn Future<Output = (Wanted, Result<Option<Zeroizing<Vec<u8>>>, String>)> + Send>>;

/// A running publisher. Poll [`Publisher::next`] all the time: it drives everything.
pub struct Publisher {
    engine: Engine,
    pump: Pump,
    clock: Clock,
    rng: OsRng,
    peers: PeersFile,
    out: Output,
    notices: VecDeque<Notice<Event>>,
    gate: Gate,
    backlog: Backlog,
    reading: Option<Reading>,
    read_again_at: Option<Instant>,
    when_full: WhenFull,
    spools: bool,
    /// The topic of the last reading, which the link takes.
    topic: Arc<str>,
    /// Whether the program waits for room, or for what is under way to end.
    waits: bool,
    /// Where the program watches what becomes of it all: whether it was told that the broker has everything.
    watches: Option<bool>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publisher({:?})", self.engine)
    }
}

impl Publisher {
    /// Takes up what was stored, and starts to connect. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the broker's options cannot work, or the state cannot be read.
    pub async fn start(settings: Settings) -> Result<Self, ClientError> {
        let (clock, mut rng) = (Clock::start(), rng());
        let Settings { identity, trust, engine: config, mut peers, store, loaded, .. } = settings;
        peers.watch();
        let spools = config.spool_max > 0;
        let mut engine = Engine::restore(identity, trust, config, &loaded.records, clock.now(), &mut rng)
            .map_err(|error| store.damaged(&error))?;
        let mut out = Output::default();
        Self::index(&mut engine, &store, &loaded).await?;
        engine.begin(clock.now(), &mut rng, &mut out);
        let backlog = Backlog::from(engine.first_unacknowledged());
        let mut publisher = Self {
            engine,
            pump: Pump::start(settings.broker)?,
            clock,
            rng,
            peers,
            out,
            notices: VecDeque::new(),
            gate: Gate::new(store),
            backlog,
            reading: None,
            read_again_at: None,
            when_full: settings.when_full,
            spools,
            topic: Arc::default(),
            waits: false,
            watches: None,
        };
        publisher.gate.submit(Vec::new(), Some(false));
        publisher.settle();
        Ok(publisher)
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
            let read_again = self.read_again_at();
            self.send_frames()?;
            let mark = self.pump.link.acknowledged_mark();
            let moved = self.reap() && self.watches.is_some() || self.is_newly_drained();
            if moved || self.waits && self.is_ready() {
                self.waits = false;
                return Ok(Notice::Moved);
            }
            let due = self.clock.instant(self.engine.next_poll_ms());
            let due = self.peers.next_look().into_iter().chain(read_again).fold(due, Instant::min);
            let is_stopped = self.backlog.front().is_some() && self.pump.is_connected();
            let waits_for_acks = (self.waits || self.watches.is_some()) && self.backlog.is_under_way();
            let link = (is_stopped || waits_for_acks).then(|| self.pump.link.clone());
            tokio::select! {
                biased;
                event = self.gate.store.event() => self.stored(event),
                () = self.peers.touched() => {}
                (wanted, read) = read(&mut self.reading) => self.was_read(wanted, read)?,
                () = acknowledged_beyond(mark, link.as_ref()), if waits_for_acks => {}
                () = room(link.as_ref()), if is_stopped && self.pump.is_idle() => {}
                wake = self.pump.wake(due) => {
                    let wake = wake?;
                    self.take(wake)?;
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

    /// Waits until what was done so far survives a power cut, for at most `patience`; whether it does.
    pub async fn is_stored(&mut self, patience: Duration) -> bool {
        let stored = async {
            while self.gate.is_busy() || self.engine.has_changes() {
                let event = self.gate.store.event().await;
                self.stored(event);
            }
        };
        tokio::time::timeout(patience, stored).await.is_ok()
    }

    fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => self.poll(),
            Wake::Idle => return Ok(()),
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
                self.settle_with(Some(Held::Acknowledge(message.ack)));
                if self.watches.is_some() {
                    self.notices.push_back(Notice::Moved);
                }
                return Ok(());
            }
            Wake::Event(other) => {
                if let LinkEvent::PublishRefused { payload, .. } = &other {
                    self.backlog.give_up(payload.clone());
                }
                self.notices.extend(Trouble::of(other).map(Notice::Trouble));
            }
        }
        self.settle();
        Ok(())
    }

    fn poll(&mut self) {
        let now = self.clock.now();
        if self.peers.is_due(Instant::now()) {
            // Somebody may have edited it, to revoke a peer for example.
            let loaded = self.peers.load_if_changed();
            self.take_known(loaded, now);
        }
        self.engine.poll(now, &mut self.rng, &mut self.out);
        self.settle();
        if !self.gate.is_busy() && self.engine.has_later_changes() {
            self.gate.submit(self.engine.take_changes(), None);
        }
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
}

async fn read(reading: &mut Option<Reading>) -> (Wanted, Result<Option<Zeroizing<Vec<u8>>>, String>) {
    match reading {
        Some(read) => {
            let done = read.as_mut().await;
            *reading = None;
            done
        }
        None => std::future::pending().await,
    }
}

async fn acknowledged_beyond(mark: u64, link: Option<&Link>) {
    if let Some(link) = link {
        link.acknowledged_beyond(mark).await;
    }
}

async fn room(link: Option<&Link>) {
    if let Some(link) = link {
        link.room().await;
    }
}
