//! The subscriber's driver: the engine, the link and the state directory.
//!
//! Readings go out first, then what the engine has learned is stored, then the broker is answered. The program says when
//! its readings are out: [`Subscriber::commit`].

mod arrival;
mod commit;
mod settings;
mod wake;

use std::collections::VecDeque;
use std::time::Instant;

use securemqtt_core::identity::PeerId;
use securemqtt_core::subscriber::{Event, Output, Subscriber as Engine};
use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::{Outgoing, Qos};

use crate::clock::{Clock, Moment, OsRng, rng};
use crate::error::ClientError;
use crate::notice::{Notice, remember};
use crate::parked::Parked;
use crate::pump::Pump;
use crate::state::{Batch, Cursor, PeersFile, Store, Ticket};
pub use arrival::{Arrival, Reading};
use commit::Held;
pub use settings::Settings;

/// Something to tell, or a message to put out and acknowledge.
#[derive(Debug)]
pub enum Told {
    /// Something to tell.
    Notice(Notice<Event>),
    /// A message was dealt with.
    Arrived(Arrival),
}

/// A running subscriber: [`Subscriber::next`] drives everything.
#[derive(Debug)]
pub struct Subscriber {
    engine: Engine,
    pump: Pump,
    clock: Clock,
    /// What the clocks said when the events at hand began, and how many more of them it serves.
    moment: Moment,
    moment_left: u32,
    /// How many of the messages at hand the engine has looked at, and not been given yet.
    looked_at: usize,
    rng: OsRng,
    qos: Qos,
    times: bool,
    peers: PeersFile,
    out: Output,
    told: VecDeque<Told>,
    parked: Parked,
    store: Store,
    /// Messages that go out with the next transaction.
    sends: Vec<Outgoing>,
    /// Whether readings were handed out since the last [`Subscriber::commit`].
    outstanding: bool,
    /// What was committed and is not handed to the store yet: it waits for the next transaction.
    pending: Vec<Held>,
    cursor: Option<Cursor>,
    /// What waits for transactions that were.
    held: VecDeque<(Ticket, Held)>,
    last: Option<Ticket>,
    /// When changes that nothing waits for are stored.
    store_by: Option<Instant>,
    /// Says that a run has begun, and where its output does: nothing is put out before that is durable.
    first: Ticket,
    /// Whether the last run was killed, and since when this one has had a connection.
    was_killed: bool,
    first_connected: Option<Instant>,
}

impl Subscriber {
    /// Starts to connect. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the broker's options cannot work.
    pub fn start(settings: Settings) -> Result<Self, ClientError> {
        let (clock, mut rng) = (Clock::start(), rng());
        let Settings { identity, trust, engine: config, mut peers, mut store, loaded, cursor, .. } = settings;
        peers.watch();
        let engine = Engine::restore(identity, trust, config, &loaded.records, clock.now(), &mut rng)
            .map_err(|error| store.damaged(&error))?;
        let first = store.submit(Batch { clean: Some(false), cursor, ..Batch::default() });
        Ok(Self {
            engine,
            pump: Pump::start(settings.broker)?,
            clock,
            moment: clock.read(),
            moment_left: 0,
            looked_at: 0,
            rng,
            qos: settings.qos,
            times: settings.times,
            peers,
            out: Output::default(),
            told: VecDeque::new(),
            parked: Parked::default(),
            store,
            sends: Vec::new(),
            outstanding: false,
            pending: Vec::new(),
            cursor: None,
            held: VecDeque::new(),
            last: Some(first),
            store_by: None,
            first,
            was_killed: !loaded.clean,
            first_connected: None,
        })
    }

    /// The engine, to be asked.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether the broker has accepted us and the connection stands.
    pub fn is_connected(&self) -> bool {
        self.pump.is_connected()
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
            if !self.has_begun() {
                let event = self.store.event().await;
                self.stored(event);
                continue;
            }
            self.moment_left = 0;
            let due = self.clock.instant(self.engine.next_poll_ms());
            let due = self.peers.next_look().map_or(due, |look| look.min(due));
            let due = self.store_at().map_or(due, |moment| moment.min(due));
            tokio::select! {
                biased;
                event = self.store.event() => self.stored(event),
                () = self.peers.touched() => {}
                wake = self.pump.wake(due) => {
                    let wake = wake?;
                    self.take(wake)?;
                }
            }
        }
    }

    /// What there is to tell at once; `None` means that now is the time to put out what was gathered and to commit.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn try_next(&mut self) -> Result<Option<Told>, ClientError> {
        while self.told.is_empty() && self.has_begun() {
            if let Some(event) = self.store.try_event() {
                self.stored(event);
                continue;
            }
            self.look_ahead();
            let Some(wake) = self.pump.try_wake() else { return Ok(None) };
            self.take(wake)?;
        }
        Ok(self.told.pop_front())
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
        let loaded = self.peers.load().map(Some);
        self.take_known(loaded);
        self.settle()
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

    /// Passes on what the engine has left.
    fn settle(&mut self) -> Result<(), ClientError> {
        if !self.out.subscribe.is_empty() {
            let filters = std::mem::take(&mut self.out.subscribe);
            self.subscribe(filters)?;
        }
        self.sends.append(&mut self.out.send);
        for event in std::mem::take(&mut self.out.events) {
            if let Event::NewPeer { name, key } = &event {
                let trouble = remember(&mut self.peers, name, key);
                self.told.extend(trouble.map(|trouble| Told::Notice(Notice::Trouble(trouble))));
            }
            self.tell(Notice::Event(event));
        }
        if let Some(arrival) = self.waited() {
            self.outstanding = true;
            self.told.push_back(Told::Arrived(arrival));
        }
        // What the engine wants sent must not overtake the readings that are being put out.
        if !self.outstanding && !self.sends.is_empty() {
            self.commit([], None);
        }
        Ok(())
    }
}
