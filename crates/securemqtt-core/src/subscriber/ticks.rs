//! What a tick tells: which stream a run belongs to, where each topic stands, and whether somebody forged.

use rand_core::CryptoRng;

use super::runs::{Ahead, Run, TopicState};
use super::streams::{Derived, FRAME_STEPS, TICK_STEPS};
use super::{Event, Output, Reject, Span, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::kdf;
use crate::stream::Signed;
use crate::topic::Control;
use crate::wire::{FrameHeader, Kind, RunPositions, TickBody, TopicPosition};

/// Publishers that may claim one run number: each is tried, so that nobody squats a run.
const MAX_CANDIDATES: usize = 4;
/// Runs of one publisher that are open at a time.
const MAX_RUNS: usize = 64;
/// A signature is checked at least this often.
const CHECK_MS: u64 = 60_000;
/// How long a gap may fill before it is reported.
const GRACE_MS: u64 = 2_000;
/// How long an accepted frame may stay unannounced, before a tick that is sealed after it makes it a forgery.
const UNANNOUNCED_MS: u64 = 5_000;
/// Ranges that are reported at one time for one topic.
const MAX_REPORTS: usize = 64;

/// A tick whose tag verified.
struct OpenedTick {
    header: FrameHeader,
    stream: u32,
    body: TickBody,
    derived: Derived,
    plain: Vec<u8>,
}

impl Subscriber {
    pub(super) fn on_tick<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        message: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let (header, header_len, _) = FrameHeader::decode(message).map_err(HandshakeError::from)?;
        if header.kind != Kind::Tick {
            return Err(Reject::NotAuthentic);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let known = self.runs.get(&header.run).and_then(|runs| runs.iter().find(|run| run.publisher == id));
        if known.and_then(|run| run.tick).is_some_and(|(seq, _)| header.seq <= seq) {
            return Ok(());
        }
        let known = known.map(|run| run.stream).filter(|stream| {
            let held = self.streams.get(&(id, *stream));
            held.is_some_and(|held| header.generation <= held.announced().saturating_add(FRAME_STEPS))
        });
        // A tick of a known run costs no more than a frame: a flood of them must not shut the genuine one out.
        if known.is_none() && !peer.ticks.take(now.mono_ms) {
            return Err(Reject::RateLimited);
        }
        let Some(tick) = self.open_tick(id, known, header, header_len, message) else {
            if known.is_some() {
                return Err(Reject::NotAuthentic);
            }
            self.park_tick(id, message, now, rng);
            return Ok(());
        };
        let check = self.needs_check(id, &tick, now);
        if check {
            self.check_signature(id, &tick, &message[..header_len])?;
        }
        let last = tick.body.last;
        if check {
            self.apply(id, tick, now, out);
        }
        if self.is_news(id, header) {
            self.beat(id, last, now, out);
        }
        Ok(())
    }

    /// Tries the streams that are held of this publisher, the newest first.
    fn open_tick(
        &self,
        id: PeerId,
        known: Option<u32>,
        header: FrameHeader,
        header_len: usize,
        message: &[u8],
    ) -> Option<OpenedTick> {
        let topic = Control::Tick.topic(id);
        let aad = [&message[..header_len], topic.as_bytes()].concat();
        let held = self.stream_order.iter().rev().filter(|(publisher, _)| *publisher == id);
        for (age, at) in held.enumerate().filter(|(_, (_, stream))| known.is_none_or(|known| known == *stream)) {
            let Some(stream) = self.streams.get(at) else { continue };
            // Only the newest stream may be far behind: a forged tick costs no more than that.
            let steps = if age == 0 { TICK_STEPS } else { FRAME_STEPS };
            let Ok(derived) = stream.derive(header.generation, steps) else { continue };
            let context = stream.context(header.run, header.generation);
            let key = kdf::traffic_key(&derived.secret, &context, &topic);
            let Ok(plain) = key.open(u64::from(header.seq), &aad, &message[header_len..]) else { continue };
            let Ok((_, body, _)) = TickBody::decode(&plain) else { continue };
            let names_itself = body.runs.first().is_some_and(|run| run.run == header.run && run.stream == stream.id);
            if body.commitment == kdf::key_commitment(&derived.secret, &context) && names_itself {
                return Some(OpenedTick { header, stream: stream.id, body, derived, plain });
            }
        }
        None
    }

    /// A tick that nothing opens: a stream that we do not hold. We ask for it, within a second.
    fn park_tick<R: CryptoRng + ?Sized>(&mut self, id: PeerId, message: &[u8], now: Now, rng: &mut R) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.parked_tick = Some(message.to_vec());
        let confirming = peer.session.as_ref().is_none_or(|session| session.confirm.is_some());
        if !confirming && peer.attempts.is_empty() {
            // Not at once for every stray tick of an old stream.
            let earliest = peer.last_request_ms.map_or(0, |last| last + 5_000).max(now.mono_ms);
            let at = earliest + u64::from(rng.next_u32() % 1000);
            peer.request_at(at);
            self.wake_at(at);
        }
    }

    /// Whether a tick is later than all before it: the replay of an old one is no sign of life.
    fn is_news(&mut self, id: PeerId, header: FrameHeader) -> bool {
        let runs = self.runs.get_mut(&header.run);
        let Some(run) = runs.and_then(|runs| runs.iter_mut().find(|run| run.publisher == id)) else { return false };
        let news = !run.beaten || header.seq > run.seen;
        run.beaten = true;
        run.seen = run.seen.max(header.seq);
        news
    }

    fn beat(&mut self, id: PeerId, last: bool, now: Now, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.pulse.beat(now.mono_ms) {
            out.events.push(Event::Back { name: peer.name.clone() });
        }
        if last {
            peer.pulse.last_ms = None;
        }
        let at = peer.due_ms();
        self.wake_at(at);
    }

    /// A signature costs more than all the rest: it is checked when a tick opens a run, changes a verdict,
    /// or the last check is a minute old.
    fn needs_check(&self, id: PeerId, tick: &OpenedTick, now: Now) -> bool {
        let run = self.find_run(id, tick.header.run);
        let Some((run, (_, checked_ms))) = run.and_then(|run| run.tick.map(|tick| (run, tick))) else { return true };
        let opens = tick.body.runs.iter().any(|positions| {
            self.streams.contains_key(&(id, positions.stream)) && self.find_run(id, positions.run).is_none()
        });
        // Of older runs too: what is added to them after their end shows nowhere else.
        let contradicts = tick.body.runs.iter().enumerate().any(|(index, positions)| {
            self.find_run(id, positions.run).is_some_and(|run| {
                let mut wanted = positions.topics.iter().filter(|position| self.wants(&position.topic));
                wanted.any(|position| {
                    run.topics.get(&position.topic).map_or(position.next > 0, |state| state.disagrees(position))
                }) || !run.unnamed(&tick.body, index).is_empty()
            })
        });
        let stream = self.streams.get(&(id, tick.stream));
        let steps = stream.is_some_and(|stream| stream.announced() < tick.header.generation);
        // A number out of turn: a tick was lost, or this one is a replay, or the one before was forged.
        let in_turn = run.seen.checked_add(1) == Some(tick.header.seq);
        opens || tick.body.last || contradicts || steps || !in_turn || checked_ms + CHECK_MS <= now.mono_ms
    }

    fn find_run(&self, id: PeerId, number: [u8; 5]) -> Option<&Run> {
        self.runs.get(&number)?.iter().find(|run| run.publisher == id)
    }

    fn check_signature(&self, id: PeerId, tick: &OpenedTick, header: &[u8]) -> Result<(), Reject> {
        let stream = self.streams.get(&(id, tick.stream)).ok_or(Reject::NotAuthentic)?;
        let (body, _, signature) = TickBody::decode(&tick.plain).map_err(|_| Reject::NotAuthentic)?;
        let topic = Control::Tick.topic(id);
        let signed = Signed::Tick { header, topic: &topic, body };
        stream.verifier.verify(id, &signed, signature).map_err(|_| Reject::BadSignature)
    }

    /// A tick whose signature verified.
    fn apply(&mut self, id: PeerId, tick: OpenedTick, now: Now, out: &mut Output) {
        if let Some(stream) = self.streams.get_mut(&(id, tick.stream)) {
            stream.announce(tick.header.generation);
        }
        drop(tick.derived);
        // A tick that was held back on its way accuses nobody of what it could not know.
        let sealed_ms = self.peers.get_mut(&id).map_or(0, |peer| peer.pulse.sealed_ms(tick.body.clock_ms, now.mono_ms));
        for (index, positions) in tick.body.runs.iter().enumerate() {
            let opened = self.open_run(id, positions);
            let mut positions = positions.clone();
            positions
                .topics
                .extend(self.find_run(id, positions.run).map(|run| run.unnamed(&tick.body, index)).unwrap_or_default());
            self.take_positions(id, &positions, sealed_ms, opened, now, out);
            if opened {
                self.unpark(positions.run, now, out);
            }
        }
        let number = tick.header.run;
        let run = self.runs.get_mut(&number).and_then(|runs| runs.iter_mut().find(|run| run.publisher == id));
        if let Some(run) = run {
            run.tick = Some((tick.header.seq, now.mono_ms));
        }
    }

    /// Opens a run if it is new and its stream is held. Returns whether it is new.
    fn open_run(&mut self, id: PeerId, positions: &RunPositions) -> bool {
        if self.find_run(id, positions.run).is_some() || !self.streams.contains_key(&(id, positions.stream)) {
            return false;
        }
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.runs < MAX_RUNS) else { return false };
        let candidates = self.runs.entry(positions.run).or_default();
        if candidates.len() >= MAX_CANDIDATES {
            return false;
        }
        peer.runs += 1;
        candidates.push(Run::new(id, positions.stream));
        true
    }

    fn take_positions(
        &mut self,
        id: PeerId,
        positions: &RunPositions,
        sealed_ms: u64,
        opened: bool,
        now: Now,
        out: &mut Output,
    ) {
        let owed = self.streams.get(&(id, positions.stream)).is_some_and(|stream| stream.owed);
        for position in positions.topics.iter().filter(|position| self.wants(&position.topic)).collect::<Vec<_>>() {
            let run =
                self.runs.get_mut(&positions.run).and_then(|runs| runs.iter_mut().find(|run| run.publisher == id));
            let Some(run) = run else { return };
            let state = run.topics.entry(position.topic.clone()).or_default();
            if opened && !owed {
                // The run was under way before we could read it.
                state.baseline = position.next;
            }
            let forged = state.check(position, sealed_ms, now.mono_ms);
            let gap = !state.window.contains(state.baseline.min(position.next), position.next);
            if gap {
                state.gap = Some((state.gap.map_or(now.mono_ms + GRACE_MS, |(at, _)| at), position.next));
                self.gaps.insert((id, positions.run, position.topic.clone()));
                self.wake_at(now.mono_ms + GRACE_MS);
            }
            if let Some((from, to)) = forged {
                self.counters.forged += 1;
                let topic = position.topic.clone();
                out.events.push(Event::Forged(Span { publisher: id, topic, run: positions.run, from, to }));
            }
        }
    }

    pub(super) fn next_gap_ms(&self) -> u64 {
        let due = |(id, number, topic): &(PeerId, [u8; 5], String)| {
            self.find_run(*id, *number)?.topics.get(topic)?.gap.map(|(at, _)| at)
        };
        self.gaps.iter().filter_map(due).min().unwrap_or(u64::MAX)
    }

    /// Reports the gaps whose grace is over.
    pub(super) fn report_gaps(&mut self, now: Now, out: &mut Output) {
        let mut still = std::collections::HashSet::new();
        for (id, number, topic) in std::mem::take(&mut self.gaps) {
            let run = self.runs.get_mut(&number).and_then(|runs| runs.iter_mut().find(|run| run.publisher == id));
            let Some(state) = run.and_then(|run| run.topics.get_mut(&topic)) else { continue };
            match state.gap {
                Some((at, _)) if at > now.mono_ms => {
                    still.insert((id, number, topic));
                }
                Some((_, to)) => {
                    for (from, to) in state.newly_missing(to) {
                        self.counters.missing += u64::from(to - from);
                        out.events.push(Event::Missing(Span {
                            publisher: id,
                            topic: topic.clone(),
                            run: number,
                            from,
                            to,
                        }));
                    }
                }
                None => {}
            }
        }
        self.gaps = still;
    }
}

impl Run {
    /// Topics of which frames were accepted, though a tick rules them out: they stand at zero.
    fn unnamed(&self, body: &TickBody, index: usize) -> Vec<TopicPosition> {
        let named = |topic: &str| body.runs[index].topics.iter().any(|position| position.topic == topic);
        let accepted = self.topics.iter().filter(|(_, state)| state.window.end() > 0);
        accepted
            .map(|(topic, _)| topic)
            .filter(|topic| body.rules_out(index, topic) && !named(topic))
            .map(|topic| TopicPosition {
                topic: topic.clone(),
                first_kept: 0,
                from: 0,
                next: 0,
                digest: crate::primitives::sha256(&[]),
            })
            .collect()
    }
}

impl TopicState {
    /// Whether a position may lead to a verdict: then its signature must be checked.
    fn disagrees(&self, position: &TopicPosition) -> bool {
        let missing = !self.window.contains(self.baseline.min(position.next), position.next);
        let forged = self.ledger.digest(position.from, position.next).is_some_and(|digest| digest != position.digest);
        missing || forged || self.window.end() > position.next || self.ahead.is_some()
    }

    /// Holds a verified position against what was accepted; returns what must have been forged.
    fn check(&mut self, position: &TopicPosition, sealed_ms: u64, now_ms: u64) -> Option<(u32, u32)> {
        let digest = self.ledger.digest(position.from, position.next);
        let contradicted =
            digest.is_some_and(|digest| digest != position.digest).then_some((position.from, position.next));
        // Forgotten only when they are known to be right: a second tick may still tell.
        if digest.is_some() {
            self.ledger.forget_below(position.from);
        }
        let unannounced =
            self.ahead.filter(|ahead| ahead.end > position.next && sealed_ms >= ahead.at_ms + UNANNOUNCED_MS);
        let end = self.window.end();
        self.ahead = match self.ahead {
            _ if end <= position.next => None,
            Some(ahead) if ahead.end > position.next => Some(ahead),
            _ => Some(Ahead { end, at_ms: now_ms }),
        };
        let (from, to) = contradicted.or(unannounced.map(|ahead| (position.next, ahead.end)))?;
        if to <= self.forged_to {
            return None;
        }
        let from = from.max(self.forged_to);
        self.forged_to = to;
        Some((from, to))
    }

    /// The ranges below `to` that are missing and not reported yet.
    fn newly_missing(&mut self, to: u32) -> Vec<(u32, u32)> {
        self.gap = None;
        let mut fresh = Vec::new();
        for (from, to) in self.window.missing(self.baseline, to, MAX_REPORTS) {
            for (from, to) in self.reported.missing(from, to, MAX_REPORTS) {
                fresh.push((from, to));
            }
        }
        for &(from, to) in &fresh {
            self.reported.insert(from, to);
        }
        fresh
    }
}
