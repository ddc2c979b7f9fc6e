//! The way of a frame: header → run → open → deliver. A frame of an unknown run is parked.

use super::open::SealedFrame;
use super::topics::OpenedFrame;
use super::{Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::wire::Kind;

impl Subscriber {
    pub(super) fn on_frame(&mut self, topic: &str, message: &[u8], now: Now, out: &mut Output) {
        if !self.open_next(topic, message, out) {
            self.on_any_frame(topic, message, now, out);
        }
    }

    // Apart, so that it takes no room where a frame is as expected.
    #[cold]
    #[inline(never)]
    fn on_any_frame(&mut self, topic: &str, message: &[u8], now: Now, out: &mut Output) {
        let result = match SealedFrame::read(topic, message) {
            Ok(frame) if frame.header.kind != Kind::Tick => self.open_frame(&frame, now, out),
            Ok(_) => Err(Reject::NotAuthentic),
            Err(error) => Err(Reject::Handshake(HandshakeError::Wire(error))),
        };
        if let Err(why) = result {
            self.reject(topic, why, now, out);
        }
    }

    #[inline]
    fn open_frame(&mut self, frame: &SealedFrame<'_>, now: Now, out: &mut Output) -> Result<(), Reject> {
        if !self.held.is_empty() && self.hold(frame, now, out) {
            return Ok(());
        }
        let number = frame.header.run;
        let Some(candidates) = self.runs.of_frame(number) else { return self.park(frame, now) };
        let mut result = Err(Reject::NotAuthentic);
        for run in candidates {
            match run.open(&mut self.streams, frame, &mut self.room, &mut out.deliveries) {
                Ok(opened) => {
                    run.fresh = true;
                    let is_of_note = opened.is_of_note() || run.followed;
                    match run.topics.last_mut() {
                        Some(state) if is_of_note => self.dirty.topic(run.publisher, number, state),
                        Some(state) => self.dirty.reading(run.publisher, number, state),
                        None => {}
                    }
                    self.counters.delivered += u64::from(opened.to - opened.from);
                    if is_of_note {
                        let (publisher, behind) = (run.publisher, run.followed.then_some(run.order));
                        self.note_opened(publisher, behind, frame, opened, now, out);
                    }
                    return Ok(());
                }
                // Another candidate may be the one; the most telling reason is kept.
                Err(why) => result = if result == Err(Reject::NotAuthentic) { Err(why) } else { result },
            }
        }
        result
    }

    /// A frame of an unknown run: a tick may open it.
    #[cold]
    fn park(&mut self, frame: &SealedFrame<'_>, now: Now) -> Result<(), Reject> {
        let number = frame.header.run;
        if self.closed.contains_key(&number) {
            return Err(Reject::Replay);
        }
        self.counters.parking_full += self.parking.park(frame.topic, number, frame.message, now.unix_ms);
        Ok(())
    }

    /// What there is to be stored and told of a frame that was opened; `behind` is the order of its run, if another has followed.
    #[cold]
    fn note_opened(
        &mut self,
        publisher: PeerId,
        behind: Option<u64>,
        frame: &SealedFrame<'_>,
        mut opened: OpenedFrame,
        now: Now,
        out: &mut Output,
    ) {
        let (topic, number) = (frame.topic, frame.header.run);
        if opened.stepped {
            self.dirty.publishers.insert(publisher);
        }
        if behind.is_some_and(|order| self.is_overtaken(publisher, order, topic)) {
            self.note_overtaken(publisher, number, topic, &mut opened);
        }
        if let Some(told) = opened.told {
            self.tell(publisher, number, topic, *told, now, out);
        }
    }

    /// A frame has come behind readings of a later run: that is told.
    fn note_overtaken(&mut self, id: PeerId, number: [u8; 5], topic: &str, opened: &mut OpenedFrame) {
        let run = self.runs.find_mut(id, number);
        let Some(state) = run.and_then(|run| run.topics.get_mut(topic)) else { return };
        state.note_overtaken(opened);
    }

    /// The frames that waited for a run which is open now.
    pub(super) fn unpark(&mut self, run: [u8; 5], now: Now, out: &mut Output) {
        for parked in self.parking.take(|parked| parked == run) {
            self.on_frame(&parked.topic, &parked.message, now, out);
        }
    }
}
