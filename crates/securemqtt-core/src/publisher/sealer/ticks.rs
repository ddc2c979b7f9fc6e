//! The ticks of a run: where each topic stands, with a digest of what was sealed since the last ones, signed.

use super::topics::TopicSealer;
use super::{SealError, Sealer, TICK_FIXED_LEN};
use crate::kdf;
use crate::primitives::sha256;
use crate::stream::Signed;
use crate::wire::{FrameHeader, Kind, RunPositions, TickBody, TopicPosition};

/// How far a tick announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What was handed to the broker: more would be missed.
    Released,
    /// Everything, at the end.
    Sealed,
}

/// What a tick says besides where its topics stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickKind {
    pub(crate) asks: bool,
    pub(crate) last: bool,
    pub(crate) reach: Reach,
}

impl TopicSealer {
    fn reached(&self, reach: Reach) -> u32 {
        match reach {
            Reach::Released => self.released,
            Reach::Sealed => self.next,
        }
    }

    fn position(&self, reach: Reach) -> TopicPosition {
        let next = self.reached(reach);
        let reaches_back = self.ledger.digest(self.marks[0], next).map(|digest| (self.marks[0], digest));
        // Sealed faster than ticks were sent, the ledger has lost leaves: then the digest claims nothing.
        let (from, digest) = reaches_back.unwrap_or_else(|| (next, sha256(&[])));
        TopicPosition { topic: self.name.to_string(), first_kept: next, from, next, digest }
    }
}

impl Sealer {
    /// Where every topic stands, those first that moved since they were last announced.
    pub(super) fn positions(&mut self, room: usize, reach: Reach) -> Vec<TopicPosition> {
        let mut topics: Vec<(&TopicSealer, bool)> =
            self.topics.all.iter().map(|topic| (topic, topic.reached(reach) != topic.announced)).collect();
        topics.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.name.cmp(&b.0.name)));
        let moved = topics.iter().take_while(|(_, moved)| *moved).count();
        // Topics that did not move take turns, where not all of them fit.
        if moved < topics.len() {
            let quiet = &mut topics[moved..];
            let turn = self.tick_cursor % quiet.len();
            quiet.rotate_left(turn);
        }
        let mut left = room;
        let mut chosen = Vec::new();
        for (topic, _) in topics {
            let len = TopicPosition::encoded_len(&topic.name);
            // A shorter one may still fit: a tick that has room for a topic names it, or the topic has no frames.
            if len > left {
                continue;
            }
            left -= len;
            chosen.push(topic.position(reach));
        }
        self.tick_cursor = self.tick_cursor.wrapping_add(chosen.len().saturating_sub(moved));
        chosen
    }

    /// How many topics moved since they were last announced.
    pub(crate) fn unannounced_topics(&self, reach: Reach) -> usize {
        self.topics.all.iter().filter(|topic| topic.reached(reach) != topic.announced).count()
    }

    /// How many ticks this run has made.
    pub(crate) fn ticks(&self) -> u32 {
        self.tick_seq
    }

    /// The final positions of all topics, for the ticks of later runs.
    pub(crate) fn final_positions(&mut self) -> RunPositions {
        let topics = self.positions(usize::MAX, Reach::Sealed);
        RunPositions { run: self.run, stream: self.stream.id(), topics }
    }

    /// Seals and signs a TICK. `first_kept` says from where on a topic can be sent again.
    pub(crate) fn tick(
        &mut self,
        older: &[RunPositions],
        clock_ms: u64,
        kind: TickKind,
        first_kept: impl Fn([u8; 5], &TopicPosition) -> u32,
    ) -> Result<Vec<u8>, SealError> {
        let room = TickBody::room(older);
        let mut topics = self.positions(room, kind.reach);
        for position in &mut topics {
            position.first_kept = first_kept(self.run, position);
            if let Some(topic) = self.topics.all.get_mut(&position.topic) {
                topic.announced = position.next;
            }
        }
        let context = self.stream.context(self.run);
        let mut runs = vec![RunPositions { run: self.run, stream: self.stream.id(), topics }];
        runs.extend_from_slice(older);
        let commitment = kdf::key_commitment(self.stream.secret(), &context);
        let body = TickBody { report_wanted: kind.asks, last: kind.last, commitment, clock_ms, runs }.encode();

        let seq = self.tick_seq;
        let next = seq.checked_add(1).ok_or(SealError::Exhausted)?;
        let header = FrameHeader { kind: Kind::Tick, run: self.run, generation: context.generation, seq };
        let mut tick = Vec::with_capacity(body.len() + TICK_FIXED_LEN);
        header.encode_into(&mut tick);
        let start = tick.len();
        let topic = self.tick_topic.as_str();
        let signature = self.stream.sign(&Signed::Tick { header: &tick[..start], topic, body: &body });
        let aad = [&tick, topic.as_bytes()].concat();
        tick.extend_from_slice(&body);
        tick.extend_from_slice(&signature);
        kdf::traffic_key(self.stream.secret(), &context, topic).seal(u64::from(seq), &aad, &mut tick, start)?;
        self.tick_seq = next;
        Ok(tick)
    }

    /// Moves the marks that digests reach back to: after each timed tick.
    pub(crate) fn move_marks(&mut self, reach: Reach) {
        self.unannounced = 0;
        for topic in self.topics.all.iter_mut() {
            topic.marks = [topic.marks[1], topic.reached(reach)];
            topic.ledger.forget_below(topic.marks[0]);
        }
    }
}
