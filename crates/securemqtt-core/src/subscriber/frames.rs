//! The way of a frame: header → run → open → deliver. A frame of an unknown run is parked.

use super::runs::run_mut;
use super::topics::OpenedFrame;
use super::{Output, Reject, Subscriber};
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::wire::{FrameHeader, Kind};
use crate::{Delivery, Now};

impl Subscriber {
    pub(super) fn on_frame(&mut self, topic: &str, message: &[u8], now: Now, out: &mut Output) {
        match FrameHeader::decode(message) {
            Ok((header, header_len, _)) if header.kind != Kind::Tick => {
                if let Err(why) = self.open_frame(topic, &header, header_len, message, now, out) {
                    self.reject(topic, why, now, out);
                }
            }
            Ok(_) => self.reject(topic, Reject::NotAuthentic, now, out),
            Err(error) => self.reject(topic, Reject::Handshake(HandshakeError::Wire(error)), now, out),
        }
    }

    fn open_frame(
        &mut self,
        topic: &str,
        header: &FrameHeader,
        header_len: usize,
        message: &[u8],
        now: Now,
        out: &mut Output,
    ) -> Result<(), Reject> {
        if self.hold(topic, header, message, now, out) {
            return Ok(());
        }
        let Some(candidates) = self.runs.get_mut(&header.run) else {
            if self.closed.contains_key(&header.run) {
                return Err(Reject::Replay);
            }
            let dropped = self.parking.park(topic, header.run, message, now.unix_ms);
            self.counters.parking_full += dropped;
            return Ok(());
        };
        let mut result = Err(Reject::NotAuthentic);
        for run in candidates {
            let Some(stream) = self.streams.get_mut(&(run.publisher, run.stream)) else { continue };
            let generation = stream.latest();
            match run.open(stream, topic, header, message, header_len) {
                Ok(mut opened) => {
                    if stream.latest() != generation {
                        self.dirty.publishers.insert(run.publisher);
                    }
                    stream.fresh = true;
                    if opened.first_change {
                        self.dirty.topics.push((run.publisher, header.run, topic.to_owned()));
                    }
                    let (publisher, stream, behind) = (run.publisher, run.stream, run.followed.then_some(run.order));
                    if behind.is_some_and(|order| self.is_overtaken(publisher, order, topic)) {
                        self.note_overtaken(publisher, header.run, topic, &mut opened);
                    }
                    self.deliver(publisher, stream, topic, header.run, opened, now, out);
                    return Ok(());
                }
                // Another candidate may be the one; the most telling reason is kept.
                Err(why) => result = if result == Err(Reject::NotAuthentic) { Err(why) } else { result },
            }
        }
        result
    }

    /// A frame has come behind readings of a later run: that is told before it is delivered.
    fn note_overtaken(&mut self, id: PeerId, number: [u8; 5], topic: &str, opened: &mut OpenedFrame) {
        let run = run_mut(&mut self.runs, id, number);
        let Some(state) = run.and_then(|run| run.topics.get_mut(topic)) else { return };
        state.note_overtaken(opened);
    }

    #[expect(clippy::too_many_arguments, reason = "what a reading has with it")]
    fn deliver(
        &mut self,
        publisher: PeerId,
        stream: u32,
        topic: &str,
        run: [u8; 5],
        opened: OpenedFrame,
        now: Now,
        out: &mut Output,
    ) {
        for (seq, payload) in (opened.from..).zip(opened.readings) {
            out.deliveries.push(Delivery { topic: topic.to_owned(), publisher, run, stream, seq, payload });
            self.counters.delivered += 1;
        }
        if let Some(told) = opened.told {
            self.tell(publisher, run, topic, *told, now, out);
        }
    }

    /// The frames that waited for a run which is open now.
    pub(super) fn unpark(&mut self, run: [u8; 5], now: Now, out: &mut Output) {
        for parked in self.parking.take(|parked| parked == run) {
            self.on_frame(&parked.topic, &parked.message, now, out);
        }
    }
}
