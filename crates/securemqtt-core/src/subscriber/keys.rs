//! KEYS, and the streams that it and the GRANT bring.

use rand_core::CryptoRng;

use super::rollback::Mark;
use super::streams::{HeldStream, Owed};
use super::{DISMISSED_MS, Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::stream::StreamGrant;
use crate::topic::Control;
use crate::wire::{EntryPayload, Keys};

/// Streams that are held of one publisher.
const MAX_STREAMS: usize = 16;

impl Subscriber {
    pub(super) fn on_keys<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let keys = Keys::decode(payload).map_err(HandshakeError::from)?;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let name = peer.name.clone();
        // Of an older session, still retained: what it held came with the GRANT.
        let Some(session) = peer.session_mut(keys.sid) else { return Ok(()) };
        let before = session.chain.index();
        let opened = session.chain.open(&keys).map_err(|_| Reject::Keys)?;
        let is_new = session.chain.index() > before;
        let confirmed = session.confirm.is_some() && session.chain.index() > 0;
        session.confirm = session.confirm.filter(|_| !confirmed);
        let current = peer.session.as_ref().is_some_and(|session| session.sid == keys.sid);
        if current && is_new {
            peer.previous = None;
        }
        if current && confirmed {
            peer.mark = Some(Mark::new(now.mono_ms));
        }
        if is_new {
            // A repeat, which anybody can send again, costs no write.
            self.dirty.publishers.insert(id);
        }
        for entry in opened.payloads {
            match entry {
                EntryPayload::Stream(stream) => self.add_stream(id, &stream, Owed::All, now, rng, out),
                EntryPayload::Notice(status) => {
                    out.events.push(Event::Dismissed { name: name.clone(), status });
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.session = None;
                        // It may be let in again some day.
                        peer.request_ms = Some(now.mono_ms + DISMISSED_MS);
                    }
                }
            }
        }
        if current && is_new {
            self.acknowledge(id, out);
        }
        Ok(())
    }

    /// Holds a stream from its generation on; a tick that waited for it is tried again.
    pub(super) fn add_stream<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        grant: &StreamGrant,
        owed: Owed,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        if self.streams.contains(id, grant.id) {
            // Entry 1 repeats what the GRANT brought: a tick that this stream did not open then, it will not open now.
            return;
        }
        self.touch(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.streams.insert(id, grant.id, HeldStream::new(id, grant, owed, now.unix_ms));
        peer.streams.push(grant.id);
        let parked = peer.parked_tick.take();
        if peer.streams.len() > MAX_STREAMS {
            let oldest = peer.streams[0];
            self.give_up_stream(id, oldest, now, out);
        }
        if let Some(tick) = parked
            && let Err(why) = self.on_tick(id, &tick, now, rng, out)
        {
            self.reject(&Control::Tick.topic(id), why, now, out);
        }
    }
}
