//! The way of a frame: header → run → open → deliver. A frame of an unknown run is parked.

use std::sync::Arc;

use super::open::SealedFrame;
use super::topics::OpenedFrame;
use super::{Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::wire::{FrameHeader, Kind};

impl Subscriber {
    pub(super) fn on_frame(&mut self, topic: &str, message: &[u8], now: Now, out: &mut Output) {
        match FrameHeader::decode(message) {
            Ok((header, header_len, _)) if header.kind != Kind::Tick => {
                let frame = SealedFrame { topic, header, message, header_len };
                if let Err(why) = self.open_frame(&frame, now, out) {
                    self.reject(topic, why, now, out);
                }
            }
            Ok(_) => self.reject(topic, Reject::NotAuthentic, now, out),
            Err(error) => self.reject(topic, Reject::Handshake(HandshakeError::Wire(error)), now, out),
        }
    }

    fn open_frame(&mut self, frame: &SealedFrame<'_>, now: Now, out: &mut Output) -> Result<(), Reject> {
        if self.hold(frame, now, out) {
            return Ok(());
        }
        let number = frame.header.run;
        let Some(candidates) = self.runs.of_frame(number) else {
            if self.closed.contains_key(&number) {
                return Err(Reject::Replay);
            }
            let dropped = self.parking.park(frame.topic, number, frame.message, now.unix_ms);
            self.counters.parking_full += dropped;
            return Ok(());
        };
        let mut result = Err(Reject::NotAuthentic);
        for run in candidates {
            let Some(stream) = self.streams.get_at(&mut run.place, run.publisher, run.stream) else { continue };
            match run.open(stream, frame, &mut self.aad, &mut out.deliveries) {
                Ok(mut opened) => {
                    if opened.stepped {
                        self.dirty.publishers.insert(run.publisher);
                    }
                    stream.fresh = true;
                    if opened.first_change
                        && let Some(state) = run.topics.get(frame.topic)
                    {
                        self.dirty.topics.push((run.publisher, number, Arc::clone(&state.name)));
                    }
                    let (publisher, behind) = (run.publisher, run.followed.then_some(run.order));
                    if behind.is_some_and(|order| self.is_overtaken(publisher, order, frame.topic)) {
                        self.note_overtaken(publisher, number, frame.topic, &mut opened);
                    }
                    self.counters.delivered += u64::from(opened.to - opened.from);
                    if let Some(told) = opened.told {
                        self.tell(publisher, number, frame.topic, *told, now, out);
                    }
                    return Ok(());
                }
                // Another candidate may be the one; the most telling reason is kept.
                Err(why) => result = if result == Err(Reject::NotAuthentic) { Err(why) } else { result },
            }
        }
        result
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
