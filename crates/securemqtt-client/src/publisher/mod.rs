//! The publisher's driver: the engine, the link and the state directory.
//!
//! A reading is sealed, stored, then published; what it takes with it (a generation, a session) is stored before. Nothing
//! here waits but [`Publisher::next`], which drives everything.

mod backlog;
mod finish;
mod gate;
mod publish;
mod send;
mod settings;
mod settle;
mod wake;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use securemqtt_core::identity::PeerId;
use securemqtt_core::publisher::{Event, Output, Publisher as Engine};
use zeroize::Zeroizing;

use crate::clock::{Clock, OsRng, rng};
use crate::error::ClientError;
use crate::mqtt::Link;
use crate::notice::Notice;
use crate::pump::Pump;
use crate::state::PeersFile;
use backlog::{Backlog, Wanted};
use gate::Gate;
pub use publish::PublishError;
pub use settings::{Settings, WhenFull};

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
            let others = [self.peers.next_look(), read_again, self.store_at()];
            let due = others.into_iter().flatten().fold(due, Instant::min);
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
                if !self.gate.is_busy() {
                    // Somebody waits: nothing is gathered.
                    self.store_changes();
                }
                let event = self.gate.store.event().await;
                self.stored(event);
            }
        };
        tokio::time::timeout(patience, stored).await.is_ok()
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
