//! What a tick tells: which stream a run belongs to, where each topic stands, and whether somebody forged.

use rand_core::CryptoRng;

use super::new_runs::Opened;
use super::runs::Run;
use super::streams::{FRAME_STEPS, TICK_STEPS};
use super::{Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::kdf;
use crate::stream::Signed;
use crate::topic::Control;
use crate::wire::{FrameHeader, Kind, MAX_TICK_LEN, TickBody, WireError};

/// The pause between handshakes that ticks of unknown streams cause, after the first few.
const STRAY_MS: u64 = 10_000;
/// A signature is checked at least this often.
const CHECK_MS: u64 = 60_000;

/// A tick whose tag verified.
struct OpenedTick {
    header: FrameHeader,
    stream: u32,
    body: TickBody,
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
        // One may be parked for each publisher: anybody's megabytes must not be.
        if message.len() > MAX_TICK_LEN {
            return Err(Reject::Handshake(HandshakeError::Wire(WireError::Oversized)));
        }
        if !self.peers.contains_key(&id) {
            return Ok(());
        }
        let known = self.find_run(id, header.run);
        if known.and_then(|run| run.tick).is_some_and(|(seq, _)| header.seq <= seq) {
            return Ok(());
        }
        if self.is_closed(id, header.run) {
            return Ok(());
        }
        let known = known.map(|run| run.stream).filter(|stream| {
            let held = self.streams.get(id, *stream);
            held.is_some_and(|held| header.generation <= held.announced().saturating_add(FRAME_STEPS))
        });
        // A tick of a known run costs no more than a frame: a flood of them must not shut the genuine one out.
        if known.is_none() && !self.peers.get_mut(&id).is_some_and(|peer| peer.ticks.take(now.mono_ms)) {
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
        if check {
            self.apply(id, &tick, now, out);
            if tick.body.report_wanted {
                self.note_asking(id, &tick.body.runs, now, rng);
            }
        }
        if self.is_news(id, header) {
            self.beat(id, tick.body.last, now, out);
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
        let held = self.peers.get(&id)?.streams.iter().rev().enumerate();
        for (age, stream) in held.filter(|(_, stream)| known.is_none_or(|known| known == **stream)) {
            let Some(stream) = self.streams.get(id, *stream) else { continue };
            // Only the newest stream may be far behind: a forged tick costs no more than that.
            let steps = if age == 0 { TICK_STEPS } else { FRAME_STEPS };
            let Ok(derived) = stream.derive(header.generation, steps) else { continue };
            let context = stream.context(header.run, header.generation);
            let key = kdf::traffic_key(&derived.secret, &context, &topic);
            let Ok(plain) = key.open(u64::from(header.seq), &aad, &message[header_len..]) else { continue };
            let Ok((_, body, _)) = TickBody::decode(&plain) else { continue };
            let names_itself = body.runs.first().is_some_and(|run| run.run == header.run && run.stream == stream.id);
            if body.commitment == kdf::key_commitment(&derived.secret, &context) && names_itself {
                return Some(OpenedTick { header, stream: stream.id, body, plain });
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
            // A forged tick costs both sides a handshake: a few may, then there is a pause.
            let pause = if peer.strays.take(now.mono_ms) { 0 } else { STRAY_MS };
            let at = now.mono_ms + pause + u64::from(rng.next_u32() % 1000);
            peer.request_at(at);
        }
    }

    /// Whether a tick is later than all before it: the replay of an old one is no sign of life.
    fn is_news(&mut self, id: PeerId, header: FrameHeader) -> bool {
        let Some(run) = self.runs.find_mut(id, header.run) else { return false };
        let news = run.seen.is_none_or(|seen| header.seq > seen);
        run.seen = run.seen.max(Some(header.seq));
        news
    }

    fn beat(&mut self, id: PeerId, last: bool, now: Now, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(check) = &mut peer.check {
            check.heard = true;
        }
        if peer.pulse.beat(now.mono_ms) {
            out.events.push(Event::Back { name: peer.name.clone() });
        }
        if last {
            peer.pulse.last_ms = None;
        }
    }

    /// A signature costs more than all the rest: it is checked when a tick opens a run, changes a verdict,
    /// or the last check is a minute old.
    fn needs_check(&self, id: PeerId, tick: &OpenedTick, now: Now) -> bool {
        let run = self.find_run(id, tick.header.run);
        let Some((run, (_, checked_ms))) = run.and_then(|run| run.tick.map(|tick| (run, tick))) else { return true };
        let named = tick.body.runs.iter().enumerate();
        let opens = named.clone().any(|(index, positions)| self.may_open(id, positions, index == 0, now));
        let is_open = |number| self.find_run(id, number).is_some_and(|run| !run.finished);
        let ends = tick.body.last || named.skip(1).any(|(_, positions)| is_open(positions.run));
        // Of older runs too: what is added to them after their end shows nowhere else.
        let contradicts = tick.body.runs.iter().enumerate().any(|(index, positions)| {
            self.find_run(id, positions.run).is_some_and(|run| {
                let mut wanted = positions.topics.iter().filter(|position| self.wants(&position.topic));
                wanted.any(|position| {
                    run.topics.get(&position.topic).map_or(position.next > 0, |state| state.disagrees(position))
                }) || !run.unnamed(&tick.body, index).is_empty()
            })
        });
        let stream = self.streams.get(id, tick.stream);
        let steps = stream.is_some_and(|stream| stream.announced() < tick.header.generation);
        // A number out of turn: a tick was lost, or this one is a replay, or the one before was forged.
        let in_turn = run.seen.unwrap_or(0).checked_add(1) == Some(tick.header.seq);
        opens
            || ends
            || tick.body.report_wanted
            || contradicts
            || steps
            || !in_turn
            || checked_ms + CHECK_MS <= now.mono_ms
    }

    pub(super) fn find_run(&self, id: PeerId, number: [u8; 5]) -> Option<&Run> {
        self.runs.find(id, number)
    }

    fn check_signature(&self, id: PeerId, tick: &OpenedTick, header: &[u8]) -> Result<(), Reject> {
        let stream = self.streams.get(id, tick.stream).ok_or(Reject::NotAuthentic)?;
        let (body, signature) = tick.plain.split_last_chunk().ok_or(Reject::NotAuthentic)?;
        let topic = Control::Tick.topic(id);
        let signed = Signed::Tick { header, topic: &topic, body };
        stream.verifier.verify(id, &signed, signature).map_err(|_| Reject::BadSignature)
    }

    /// A tick whose signature verified.
    fn apply(&mut self, id: PeerId, tick: &OpenedTick, now: Now, out: &mut Output) {
        self.touch(id);
        if let Some(stream) = self.streams.get_mut(id, tick.stream) {
            stream.announce(tick.header.generation);
            stream.current_ms = now.unix_ms;
        }
        // A tick that was held back on its way accuses nobody of what it could not know.
        let sealed_ms = self.peers.get_mut(&id).map_or(0, |peer| peer.pulse.sealed_ms(tick.body.clock_ms, now.mono_ms));
        // The older ones first: what waited of them came before.
        for (index, positions) in tick.body.runs.iter().enumerate().rev() {
            let opened = self.open_run(id, &tick.body, index, now);
            let mut positions = positions.clone();
            positions
                .topics
                .extend(self.find_run(id, positions.run).map(|run| run.unnamed(&tick.body, index)).unwrap_or_default());
            self.take_positions(id, &positions, sealed_ms, opened, now, out);
            if opened != Opened::Before {
                self.unpark(positions.run, now, out);
            }
            // An older run is named with its final positions.
            if let Some(run) = self.runs.find_mut(id, positions.run) {
                run.finished |= index > 0 || tick.body.last;
            }
        }
        self.note_owed(id, &tick.body, now);
        if let Some(run) = self.runs.find_mut(id, tick.header.run) {
            run.tick = Some((tick.header.seq, now.mono_ms));
        }
        self.close_runs(id, tick.header.run, now, out);
        self.settle_streams(id);
    }
}
