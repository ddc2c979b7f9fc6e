//! The frame that is expected: most are the next of the topic of the one before. Its header is known byte for byte, so nothing
//! is looked up for it. Whatever is not as expected goes the way of all frames, and is judged there.

use std::sync::Arc;

use crate::Delivery;
use crate::ledger::leaf;
use crate::primitives::TAG_LEN;
use crate::wire::Kind;

use super::open::Room;
use super::runs::Run;
use super::{Output, Subscriber};

impl Subscriber {
    /// Opens the frame that is expected, and delivers its reading. False, with nothing changed, for any other.
    #[inline]
    pub(super) fn open_next(&mut self, topic: &str, message: &[u8], out: &mut Output) -> bool {
        if !self.room.next.is_of(topic, message) {
            return unexpected();
        }
        // None of a publisher whose frames are held has been opened, so none is expected.
        // That they are those of the frame before need not be checked: under another key than its own no frame opens.
        let Some(run) = self.runs.last_mut().filter(|run| !run.followed) else { return unexpected() };
        let Some(stream) = self.streams.get_at(&mut run.place, run.publisher, run.stream) else { return unexpected() };
        let Some(state) = run.topics.last_mut() else { return unexpected() };
        let Room { next, readings } = &mut self.room;
        let header = next.header();
        let (seq, in_turn) = (header.seq, state.reported.is_empty() && state.lost.is_empty());
        let Some(end) = state.window.end_mut().filter(|end| **end == seq && in_turn) else { return unexpected() };
        // One of another generation than the header is another key, too.
        let Some((_, key)) = state.key.as_deref() else { return unexpected() };
        let Some(to) = seq.checked_add(1) else { return unexpected() };
        if header.kind != Kind::Frame || stream.signed_frames {
            return unexpected();
        }
        let sealed = message.get(next.encoded().len()..).and_then(<[u8]>::split_last_chunk::<TAG_LEN>);
        let Some((text, tag)) = sealed else { return unexpected() };
        let plain = readings.begin(text.len());
        plain.extend_from_slice(text);
        if key.open_in_place(seq.into(), next.associated_data(), plain, tag).is_err() {
            return unexpected();
        }
        let payload = readings.end();
        let topic = Arc::clone(&state.name);
        let Run { publisher, number: run, stream: id, .. } = *run;
        out.deliveries.push(Delivery { topic, publisher, run, stream: id, seq, payload });
        *end = to;
        next.advance();
        stream.fresh = true;
        if !state.dirty {
            self.dirty.topic(publisher, run, state);
        }
        self.counters.delivered += 1;
        state.ledger.push(seq, to, leaf(message));
        true
    }
}

/// Another frame than the expected one. What leads here is unlikely, and the compiler is told so: it takes many conditions in a
/// row for a coin's toss each, and what is behind them for hardly ever run.
#[cold]
#[inline(never)]
fn unexpected() -> bool {
    false
}
