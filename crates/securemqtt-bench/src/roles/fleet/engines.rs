//! The engines of a fleet, and their clock.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use securemqtt_client::state::PeersFile;
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::peers::{KnownPeers, Peer};
use securemqtt_core::publisher::{Config, Event, Output, Publisher};
use securemqtt_core::topic::Control;
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::{Now, Outgoing, Qos};

use super::kept::Kept;
use crate::ours::SPOOL;
use crate::outcome::Outcome;

/// The operating system's random numbers.
pub(super) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A reading of 96 bytes. It has no number: the readings of a fleet have no common order.
const READING: &[u8; 96] =
    br#"{"heart_rate": 83, "temperature": 36.7, "spo2": 98, "pressure": "121/79", "ts": "08:00:00.000Z"}"#;

pub(super) struct Engines {
    all: Vec<Publisher>,
    topics: Vec<String>,
    by_id: HashMap<PeerId, usize>,
    confirmed: usize,
    kept: Kept,
    /// Frames that are kept and that the broker has not acknowledged: whose, and in which segment.
    unacknowledged: Vec<(usize, u64)>,
    out: Output,
    /// Whose messages are in `out`.
    speaker: usize,
    start: Instant,
    /// Milliseconds that the engines' clock is ahead: ticks are made when they are asked for.
    ahead_ms: u64,
    tick_ms: u64,
}

impl Engines {
    /// New identities that have pinned the subscriber, and whom it can pin.
    pub(super) fn make(count: usize, subscriber: &Path, known_peers: &Path) -> Outcome<Self> {
        let known = PeersFile::new(subscriber).load()?;
        let mut rng = rng();
        let (mut all, mut topics, mut by_id, mut peers) =
            (Vec::new(), Vec::new(), HashMap::new(), KnownPeers::default());
        let now = Now { mono_ms: 0, unix_ms: unix_ms() };
        let mut tick_ms = 0;
        for index in 0..count {
            let key = IdentityKey::generate(&mut rng);
            // An engine keeps what it is told to keep: what is sealed alone leaves its spool empty, and nothing is reported.
            let config = Config { spool_max: SPOOL, ..Config::new(format!("fleet-{index}").parse()?) };
            tick_ms = config.tick_ms;
            let peer = Peer { name: config.name.clone(), key: key.public().clone(), revoked: false, comment: None };
            peers.add(peer).map_err(|conflict| conflict.to_string())?;
            let trust = Trust::new(TrustMode::Strict, key.public().id(), known.clone(), Vec::new());
            by_id.insert(key.public().id(), index);
            all.push(Publisher::new(key, trust, config, now, &mut rng));
            topics.push(format!("fleet/{index}/vitals"));
        }
        PeersFile::new(known_peers)
            .edit(|known| {
                *known = peers;
                Ok::<_, ()>(())
            })?
            .map_err(|()| "known_peers was not written")?;
        Ok(Self {
            all,
            topics,
            by_id,
            confirmed: 0,
            kept: Kept::default(),
            unacknowledged: Vec::new(),
            out: Output::default(),
            speaker: 0,
            start: Instant::now(),
            ahead_ms: 0,
            tick_ms,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many sessions there are.
    pub(super) fn confirmed(&self) -> usize {
        self.confirmed
    }

    pub(super) fn filters(&self, index: usize) -> Vec<String> {
        self.all[index].filters()
    }

    pub(super) fn connected(&mut self, index: usize) {
        let now = self.now();
        self.speaker = index;
        self.all[index].connected(now, &mut self.out);
    }

    pub(super) fn handle(&mut self, topic: &str, payload: &[u8]) -> Outcome<()> {
        let Some(index) = Control::parse(topic).and_then(|(id, _)| self.by_id.get(&id).copied()) else { return Ok(()) };
        let now = self.now();
        self.speaker = index;
        self.all[index].handle(topic, payload, now, &mut rng(), &mut self.out);
        let first = |event: &Event| matches!(event, Event::Confirmed { first: true, .. });
        self.confirmed += self.out.events.drain(..).filter(first).count();
        // What the subscriber has asked for is handed out by a poll. Of one that keeps nothing nothing can be asked.
        if self.kept.has(index) && self.all[index].next_poll_ms() <= now.mono_ms {
            self.poll(index, now)?;
        }
        Ok(())
    }

    /// A reading that is not kept.
    pub(super) fn seal(&mut self, index: usize) -> Outcome<(String, Vec<u8>)> {
        let topic = self.topics[index].clone();
        let frame = self.all[index].seal(&topic, READING)?;
        Ok((topic, frame.to_vec()))
    }

    /// A reading that is kept to be sent again. It is handed over in the same breath, and the next tick tells of it.
    pub(super) fn spool(&mut self, index: usize) -> Outcome<(String, Vec<u8>)> {
        let (topic, engine) = (self.topics[index].clone(), &mut self.all[index]);
        let run = engine.run();
        let spooled = engine.spool(&topic, &[READING.as_slice()], Qos::AtLeastOnce, false)?;
        self.kept.store(index, engine.take_changes());
        engine.handed_over(spooled.segment, run, &topic, spooled.to);
        self.unacknowledged.push((index, spooled.segment));
        Ok((topic, spooled.frame.to_vec()))
    }

    /// The broker has acknowledged everything.
    pub(super) fn acknowledged(&mut self) {
        for (index, segment) in self.unacknowledged.drain(..) {
            let engine = &mut self.all[index];
            engine.acknowledged(segment, 1);
            self.kept.store(index, engine.take_changes());
        }
    }

    /// Whether so much was sealed that a tick cannot wait.
    pub(super) fn is_due(&self, index: usize) -> bool {
        self.all[index].next_poll_ms() == 0
    }

    /// The tick of this publisher, as if its interval were over. The clock goes on with the first of a round.
    pub(super) fn tick(&mut self, index: usize) -> Outcome<()> {
        if index == 0 {
            self.ahead_ms += self.tick_ms;
        }
        let now = self.now();
        self.poll(index, now)
    }

    /// What is due of a publisher, with what is to be sent again.
    fn poll(&mut self, index: usize, now: Now) -> Outcome<()> {
        self.speaker = index;
        self.all[index].poll(now, &mut rng(), &mut self.out);
        self.out.events.clear();
        if self.kept.has(index) {
            self.kept.store(index, self.all[index].take_changes());
        }
        for wanted in self.out.resend.drain(..) {
            self.out.send.extend(self.kept.again(index, &wanted)?);
        }
        Ok(())
    }

    /// The next message, and whose it is.
    pub(super) fn next_message(&mut self) -> Option<(usize, Outgoing)> {
        if self.out.send.is_empty() {
            return None;
        }
        Some((self.speaker, self.out.send.remove(0)))
    }

    fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms: mono_ms.saturating_add(self.ahead_ms), unix_ms: unix_ms() }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::subscriber::{self, Subscriber};

    use super::*;

    #[test]
    fn a_fleet_is_known_to_the_subscriber_and_ticks_when_it_is_asked_to() {
        let directory = tempfile::tempdir().unwrap();
        let (mine, theirs) = (directory.path().join("mine"), directory.path().join("theirs"));
        let mut engines = Engines::make(3, &mine, &theirs).unwrap();
        assert_eq!(PeersFile::new(&theirs).load().unwrap().iter().count(), 3);
        for index in 0..engines.len() {
            engines.tick(index).unwrap();
            let spoken: Vec<usize> = std::iter::from_fn(|| engines.next_message()).map(|(who, _)| who).collect();
            assert_eq!(spoken, [index, index], "hello and tick");
        }
        engines.tick(1).unwrap();
        assert!(engines.next_message().is_none(), "not due yet");
        assert!(engines.seal(2).unwrap().1.len() > READING.len());
        assert_eq!((engines.confirmed(), engines.filters(0).len()), (0, 2));
    }

    /// Lets a fleet and a subscriber talk for so long; the readings that came.
    fn talk(engines: &mut Engines, subscriber: &mut Subscriber, clock_ms: &mut u64, for_ms: u64) -> usize {
        let (mut out, mut came, end) = (subscriber::Output::default(), 0, *clock_ms + for_ms);
        while *clock_ms < end {
            *clock_ms += 50;
            let now = Now { mono_ms: *clock_ms, unix_ms: unix_ms() };
            subscriber.poll(now, &mut rng(), &mut out);
            while let Some((_, message)) = engines.next_message() {
                subscriber.handle(&message.topic, &message.payload, now, &mut rng(), &mut out);
            }
            for message in out.send.drain(..) {
                engines.handle(&message.topic, &message.payload).unwrap();
            }
            came += out.deliveries.drain(..).count();
        }
        came
    }

    #[test]
    fn what_is_lost_on_its_way_is_sent_again_when_the_subscriber_asks_and_nothing_is_that_was_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (mine, theirs) = (directory.path().join("mine"), directory.path().join("theirs"));
        let key = IdentityKey::generate(&mut rng());
        let peer = Peer { name: "s".parse().unwrap(), key: key.public().clone(), revoked: false, comment: None };
        PeersFile::new(&mine).edit(|known| known.add(peer)).unwrap().unwrap();
        let mut engines = Engines::make(3, &mine, &theirs).unwrap();
        let known = PeersFile::new(&theirs).load().unwrap();
        let trust = Trust::new(TrustMode::Strict, key.public().id(), known, Vec::new());
        let (name, filters) = ("s".parse().unwrap(), vec!["fleet/#".to_owned()]);
        let config = subscriber::Config { name, filters, exclude: Vec::new(), accept_rollback: false };
        let (mut subscriber, mut clock_ms) = (Subscriber::new(key, trust, config), 0);
        for index in 0..engines.len() {
            engines.connected(index);
            talk(&mut engines, &mut subscriber, &mut clock_ms, 3_000);
        }
        assert_eq!(engines.confirmed(), 3);

        let lost = [engines.spool(0), engines.spool(1), engines.seal(2)];
        assert!(lost.iter().all(Result::is_ok));
        engines.acknowledged();
        assert!(engines.kept.has(0) && engines.kept.has(1) && !engines.kept.has(2), "none has been reported");
        assert_eq!(talk(&mut engines, &mut subscriber, &mut clock_ms, 10_000), 0, "no tick has told of them");
        let mut came = 0;
        for index in 0..engines.len() {
            engines.tick(index).unwrap();
            came += talk(&mut engines, &mut subscriber, &mut clock_ms, 5_000);
        }
        assert_eq!(came, 2);
        assert_eq!(subscriber.counters().lost, 1, "the one that nobody kept");
    }
}
