//! Our own ticks, as the broker gives them back: a later one than ours means that our state was restored from a copy, a
//! live one of another run that somebody runs on a copy of our state.

use std::collections::HashMap;

use rand_core::CryptoRng;

use super::{Event, Output, Publisher};
use crate::Now;
use crate::kdf;
use crate::stream::{Signed, StreamSecret};
use crate::topic::Control;
use crate::wire::{FrameHeader, Kind, MAX_TICK_LEN, TickBody};

/// Runs of others that are remembered.
const MAX_OTHERS: usize = 16;
/// The stream before is remembered for so long after a switch, to know the ticks of a copy that did not switch.
pub(super) const REMEMBER_MS: u64 = 60_000;

/// What our own topic has told.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// The last number of our own run's ticks that came back.
    echoed: Option<u32>,
    /// Runs under our streams that are not ours.
    others: HashMap<[u8; 5], Other>,
    /// Whether the stream was rotated for it: once is enough.
    restored: bool,
    /// The stream before a switch, for some time.
    pub(super) before: Option<Before>,
}

/// A run that is not ours.
#[derive(Clone, Copy, Debug, Default)]
struct Other {
    /// The highest number of its ticks.
    seq: u32,
    /// Whether it was told of.
    told: bool,
}

/// A stream that was in use.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) stream: StreamSecret,
    pub(super) runs: Vec<[u8; 5]>,
    pub(super) until_ms: u64,
}

/// A tick that was made with our stream's key.
struct Foreign {
    clock_ms: u64,
    of_the_stream_before: bool,
}

impl Publisher {
    /// A tick on our own topic.
    pub(super) fn on_own_tick<R: CryptoRng + ?Sized>(
        &mut self,
        message: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        let Ok((header, header_len, _)) = FrameHeader::decode(message) else { return };
        if header.kind != Kind::Tick || message.len() > MAX_TICK_LEN {
            return;
        }
        if header.run == self.sealer.run() {
            self.twins.echoed = self.twins.echoed.max(Some(header.seq));
            return;
        }
        let before = self.twins.before.as_ref().is_some_and(|before| before.runs.contains(&header.run));
        if before || self.epoch.runs.contains(&header.run) || self.past.contains(header.run) {
            return;
        }
        let Some(foreign) = self.open_foreign(&header, header_len, message) else { return };
        let seen = self.twins.others.get(&header.run).copied();
        // It was sealed after our start, or goes on: whoever seals it runs now.
        let lives = foreign.clock_ms > self.started_unix_ms || seen.is_some_and(|seen| header.seq > seen.seq);
        let before = seen.unwrap_or_default();
        if self.twins.others.len() < MAX_OTHERS || seen.is_some() {
            let other = Other { seq: before.seq.max(header.seq), told: before.told || lives };
            self.twins.others.insert(header.run, other);
        }
        if lives && !before.told {
            // A copy that is a generation or a stream behind does not see ours: then we are the ones who end.
            let we_end = foreign.of_the_stream_before
                || header.generation > self.sealer.stream().generation()
                || self.sealer.run() > header.run;
            out.events.push(Event::Twin { we_end });
        } else if !lives && !std::mem::replace(&mut self.twins.restored, true) {
            out.events.push(Event::Restored);
            self.rotate(now, rng, out);
        }
    }

    /// Opens a tick with our stream, or with the one before.
    fn open_foreign(&self, header: &FrameHeader, header_len: usize, message: &[u8]) -> Option<Foreign> {
        let before = self.twins.before.as_ref().map(|before| (&before.stream, true));
        [(self.sealer.stream(), false)].into_iter().chain(before).find_map(|(stream, of_the_stream_before)| {
            let secret = stream.ahead(header.generation)?;
            let mut context = stream.context(header.run);
            context.generation = header.generation;
            let topic = Control::Tick.topic(self.id);
            let (head, sealed) = message.split_at_checked(header_len)?;
            let aad = [head, topic.as_bytes()].concat();
            let key = kdf::traffic_key(&secret, &context, &topic);
            let plain = key.open(u64::from(header.seq), &aad, sealed).ok()?;
            let (bytes, body, signature) = TickBody::decode(&plain).ok()?;
            let signed = Signed::Tick { header: head, topic: &topic, body: bytes };
            let genuine = stream.verifies(&signed, signature)
                && body.runs.first().is_some_and(|run| run.run == header.run && run.stream == stream.id());
            genuine.then_some(Foreign { clock_ms: body.clock_ms, of_the_stream_before })
        })
    }

    /// Whether the broker has given back the last tick that was made: all that it had for us before is here, too.
    pub fn is_echoed(&self) -> bool {
        let last = self.sealer.ticks().checked_sub(1);
        last.is_some() && self.twins.echoed >= last
    }

    /// The stream before is forgotten, some time after a switch.
    pub(super) fn forget_stream_before(&mut self, now: Now) {
        if self.twins.before.as_ref().is_some_and(|before| before.until_ms <= now.mono_ms) {
            self.twins.before = None;
        }
    }
}
