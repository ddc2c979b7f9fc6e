//! The frame that is expected: most are the next of the topic of the one before. Its header is known byte for byte, so nothing
//! is looked up for it. Whatever is not as expected goes the way of all frames, and is judged there.

use std::sync::Arc;

use crate::Delivery;
use crate::ledger::leaf;
use crate::primitives::TAG_LEN;
use crate::wire::Kind;

use super::open::{Room, deliver};
use super::topics::Noted;
use super::{Output, Subscriber};

impl Subscriber {
    /// Opens the frame that is expected, and delivers its reading. False, with nothing changed, for any other.
    #[inline]
    pub(super) fn open_next(&mut self, topic: &str, message: &[u8], out: &mut Output) -> bool {
        let Room { next, readings } = &mut self.room;
        let (kind, seq) = (next.header().kind, next.header().seq);
        if kind != Kind::Frame || !next.is_of(topic, message) {
            return unexpected();
        }
        // None of a publisher whose frames are held has been opened, so none is expected.
        // That they are those of the frame before need not be checked: under another key than its own no frame opens.
        let Some(run) = self.runs.last_mut() else { return unexpected() };
        let Some(state) = run.topics.last_mut() else { return unexpected() };
        if run.followed || !state.reported.is_empty() || !state.lost.is_empty() {
            return unexpected();
        }
        let Some(end) = state.window.end_at(seq) else { return unexpected() };
        let Some(to) = seq.checked_add(1) else { return unexpected() };
        // One of another generation than the header is another key, too.
        let Some(held) = state.key.as_ref().filter(|held| !held.signed_frames) else { return unexpected() };
        let sealed = message.get(next.encoded().len()..).and_then(<[u8]>::split_last_chunk::<TAG_LEN>);
        let Some((text, tag)) = sealed else { return unexpected() };
        let plain = readings.begin(text.len());
        plain.extend_from_slice(text);
        if held.key.open_in_place(seq.into(), next.associated_data(), plain, tag).is_err() {
            return unexpected();
        }
        deliver(&mut out.deliveries, || {
            let (payload, topic) = (readings.end(), Arc::clone(&state.name));
            Delivery { topic, publisher: run.publisher, run: run.number, stream: run.stream, seq, payload }
        });
        *end = to;
        next.advance();
        run.fresh = true;
        if state.noted != Noted::Listed {
            self.dirty.reading(run.publisher, run.number, state);
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
