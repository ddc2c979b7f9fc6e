//! The subscriber's driver: the engine, the link and the state directory.
//!
//! Readings go out first, then what the engine has learned is stored, then the broker is answered. The program says when
//! its readings are out: [`Subscriber::commit`].

mod commit;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use securemqtt_core::Delivery;
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::subscriber::{Config, Event, Output, Subscriber as Engine};
use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::trust::Trust;
use securemqtt_core::{Outgoing, Qos};

use crate::clock::{Clock, Moment, OsRng, rng};
use crate::error::ClientError;
use crate::mqtt::{AckToken, BrokerOptions, LinkError, LinkEvent, Message};
use crate::notice::{Notice, Trouble, remember};
use crate::parked::{Came, Parked};
use crate::pump::{Pump, Wake};
use crate::state::{Batch, Cursor, Loaded, PeersFile, StateError, Store, Ticket};
use commit::Held;

/// After kill -9, what comes so soon after the first connection may have been put out before: brokers begin with what
/// was under way, and not all of them mark it.
const MAYBE_SHOWN: Duration = Duration::from_secs(2);

/// Events at hand that one reading of the clocks serves.
const MAX_AT_ONCE: u32 = 64;

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
    /// Whether [`Arrival::elapsed`] is measured.
    pub times: bool,
    /// Where new peers are remembered.
    pub peers: PeersFile,
    /// The state on disk.
    pub store: Store,
    /// What was found in it.
    pub loaded: Loaded,
    /// Where the output file ends now.
    pub cursor: Option<Cursor>,
}

/// Something to tell, or a message to put out and acknowledge.
#[derive(Debug)]
pub enum Told {
    /// Something to tell.
    Notice(Notice<Event>),
    /// A message was dealt with.
    Arrived(Arrival),
}

/// A message from the broker with the readings that it brought: none, one, or those that waited. Or readings that waited
/// for the time to pass, without a message.
#[derive(Debug)]
pub struct Arrival {
    /// When it arrived.
    pub at: SystemTime,
    /// How long the engine took; nothing where [`Settings::times`] is not set.
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

/// A running subscriber: [`Subscriber::next`] drives everything.
#[derive(Debug)]
pub struct Subscriber {
    engine: Engine,
    pump: Pump,
    clock: Clock,
    /// What the clocks said when the events at hand began, and how many more of them it serves.
    moment: Moment,
    moment_left: u32,
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
        let Settings { identity, trust, engine: config, mut peers, store, loaded, cursor, .. } = settings;
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
            let due = self.store_by.filter(|_| self.may_store()).map_or(due, |moment| moment.min(due));
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

    /// One reading of the clocks for the events at hand.
    fn moment(&mut self) -> Moment {
        if self.moment_left == 0 {
            (self.moment, self.moment_left) = (self.clock.read(), MAX_AT_ONCE);
        }
        self.moment_left -= 1;
        self.moment
    }

    fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => {
                let moment = self.moment();
                self.tend(moment);
                self.store_committed();
            }
            Wake::Idle => return Ok(()),
            Wake::Ended => return Err(LinkError::closed().into()),
            Wake::Event(LinkEvent::Failed(error)) => return Err(error.into()),
            Wake::Event(LinkEvent::Connected { .. }) => {
                self.first_connected.get_or_insert_with(Instant::now);
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
    fn tend(&mut self, moment: Moment) {
        if self.peers.is_due(moment.instant) {
            // Somebody may have edited it, to revoke a peer for example.
            let loaded = self.peers.load_if_changed();
            self.take_known(loaded);
        }
        self.engine.poll(moment.now, &mut self.rng, &mut self.out);
    }

    fn take_known(&mut self, loaded: Result<Option<KnownPeers>, StateError>) {
        match loaded {
            Ok(Some(known)) => self.engine.set_known(known),
            Ok(None) => {}
            Err(error) => self.tell(Notice::Trouble(Trouble::NotReloaded { why: error.to_string() })),
        }
    }

    fn arrive(&mut self, message: &Message) -> Result<(), ClientError> {
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
    fn waited(&mut self) -> Option<Arrival> {
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
