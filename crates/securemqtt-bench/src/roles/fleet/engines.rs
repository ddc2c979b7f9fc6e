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
use securemqtt_core::{Now, Outgoing};

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
            let config = Config::new(format!("fleet-{index}").parse()?);
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
        let out = Output::default();
        Ok(Self { all, topics, by_id, confirmed: 0, out, speaker: 0, start: Instant::now(), ahead_ms: 0, tick_ms })
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

    pub(super) fn handle(&mut self, topic: &str, payload: &[u8]) {
        let Some(index) = Control::parse(topic).and_then(|(id, _)| self.by_id.get(&id).copied()) else { return };
        let now = self.now();
        self.speaker = index;
        self.all[index].handle(topic, payload, now, &mut rng(), &mut self.out);
        let first = |event: &Event| matches!(event, Event::Confirmed { first: true, .. });
        self.confirmed += self.out.events.drain(..).filter(first).count();
    }

    pub(super) fn seal(&mut self, index: usize) -> Outcome<(String, Vec<u8>)> {
        let topic = self.topics[index].clone();
        let frame = self.all[index].seal(&topic, READING)?;
        Ok((topic, frame.to_vec()))
    }

    /// Whether so much was sealed that a tick cannot wait.
    pub(super) fn is_due(&self, index: usize) -> bool {
        self.all[index].next_poll_ms() == 0
    }

    /// The tick of this publisher, as if its interval were over. The clock goes on with the first of a round.
    pub(super) fn tick(&mut self, index: usize) {
        if index == 0 {
            self.ahead_ms += self.tick_ms;
        }
        let now = self.now();
        self.speaker = index;
        self.all[index].poll(now, &mut rng(), &mut self.out);
        self.out.events.clear();
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
    use super::*;

    #[test]
    fn a_fleet_is_known_to_the_subscriber_and_ticks_when_it_is_asked_to() {
        let directory = tempfile::tempdir().unwrap();
        let (mine, theirs) = (directory.path().join("mine"), directory.path().join("theirs"));
        let mut engines = Engines::make(3, &mine, &theirs).unwrap();
        assert_eq!(PeersFile::new(&theirs).load().unwrap().iter().count(), 3);
        for index in 0..engines.len() {
            engines.tick(index);
            let spoken: Vec<usize> = std::iter::from_fn(|| engines.next_message()).map(|(who, _)| who).collect();
            assert_eq!(spoken, [index, index], "hello and tick");
        }
        engines.tick(1);
        assert!(engines.next_message().is_none(), "not due yet");
        assert!(engines.seal(2).unwrap().1.len() > READING.len());
        assert_eq!((engines.confirmed(), engines.filters(0).len()), (0, 2));
    }
}
