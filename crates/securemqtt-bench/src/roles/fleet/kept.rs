//! What a fleet keeps to send again: the segments of its engines' spools, in memory. It stands in for the publishers' disks: no
//! engine of a fleet is started again, so nothing is read back at a start, and nothing else of their state is kept.

use std::collections::HashMap;

use securemqtt_core::publisher::{Resend, frames};
use securemqtt_core::record::{Change, Table};
use securemqtt_core::{Outgoing, Qos};

use crate::outcome::Outcome;

/// The segments by publisher and key.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<usize, HashMap<Vec<u8>, Vec<u8>>>);

impl Kept {
    /// Whether anything of a publisher is kept.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.contains_key(&index)
    }

    /// Stores what a publisher's engine wants stored of its spool, and forgets what it has let go.
    pub(super) fn store(&mut self, index: usize, changes: Vec<Change>) {
        let segments = self.0.entry(index).or_default();
        for Change { key, value, .. } in changes.into_iter().filter(|change| change.table == Table::Segment) {
            match value {
                Some(bytes) => segments.insert(key, bytes.to_vec()),
                None => segments.remove(&key),
            };
        }
        if segments.is_empty() {
            self.0.remove(&index);
        }
    }

    /// The frames that somebody lacks, byte for byte; none where the engine has let them go meanwhile.
    pub(super) fn again(&self, index: usize, wanted: &Resend) -> Outcome<Vec<Outgoing>> {
        let key = wanted.segment.to_be_bytes();
        let Some(bytes) = self.0.get(&index).and_then(|segments| segments.get(&key[..])) else { return Ok(Vec::new()) };
        let frames = frames(bytes).map_err(|why| format!("a segment that was kept: {why:?}"))?;
        let message = |topic: &str, frame: &[u8]| Outgoing {
            topic: topic.to_owned(),
            payload: frame.to_vec(),
            qos: Qos::AtLeastOnce,
            retain: false,
        };
        Ok(frames.iter().filter(|frame| wanted.wants(frame)).map(|frame| message(frame.topic, frame.frame)).collect())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::Now;
    use securemqtt_core::identity::IdentityKey;
    use securemqtt_core::peers::KnownPeers;
    use securemqtt_core::publisher::{Config, Publisher};
    use securemqtt_core::trust::{Trust, TrustMode};
    use securemqtt_core::wire::topic_hash;

    use super::super::engines::rng;
    use super::*;

    #[test]
    fn only_what_is_wanted_goes_out_again_and_what_the_engine_lets_go_is_forgotten() {
        let key = IdentityKey::generate(&mut rng());
        let trust = Trust::new(TrustMode::Strict, key.public().id(), KnownPeers::default(), Vec::new());
        let config = Config { spool_max: 1 << 20, ..Config::new("p".parse().unwrap()) };
        let mut engine = Publisher::new(key, trust, config, Now { mono_ms: 0, unix_ms: 0 }, &mut rng());
        let mut spool = |topic| engine.spool(topic, &[b"83"], Qos::AtLeastOnce, true).unwrap();
        let spooled = ["a", "a", "b", "b", "a", "a"].map(&mut spool);
        let mut kept = Kept::default();
        kept.store(7, engine.take_changes());
        assert!(kept.has(7) && !kept.has(0));

        let segment = spooled[0].segment;
        let wanted = Resend { segment, run: engine.run(), topic: topic_hash("a"), from: 1, to: 3 };
        let again = kept.again(7, &wanted).unwrap();
        let frames: Vec<&[u8]> = again.iter().map(|message| message.payload.as_slice()).collect();
        assert_eq!(frames, [&spooled[1].frame[..], &spooled[4].frame[..]]);
        assert!(again.iter().all(|message| message.topic == "a" && !message.retain));
        for other in [Resend { segment: segment + 1, ..wanted }, Resend { run: [0; 5], ..wanted }] {
            assert!(kept.again(7, &other).unwrap().is_empty());
        }
        assert!(kept.again(0, &wanted).unwrap().is_empty(), "another publisher's");

        // Nobody waits for them: what the broker has may go.
        engine.acknowledged(segment, 6);
        kept.store(7, engine.take_changes());
        assert!(!kept.has(7));
    }
}
