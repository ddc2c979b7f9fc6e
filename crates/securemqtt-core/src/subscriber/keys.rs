//! KEYS, and the streams that it and the GRANT bring.

use rand_core::CryptoRng;

use super::peer::Peer;
use super::streams::HeldStream;
use super::{DISMISSED_MS, Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::peers::KnownPeers;
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
        session.confirm = session.confirm.filter(|_| session.chain.index() == 0);
        let current = peer.session.as_ref().is_some_and(|session| session.sid == keys.sid);
        if current && is_new {
            peer.previous = None;
        }
        if is_new {
            // A repeat, which anybody can send again, costs no write.
            self.dirty.publishers.insert(id);
        }
        for entry in opened.payloads {
            match entry {
                EntryPayload::Stream(stream) => self.add_stream(id, &stream, true, now, rng, out),
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

    /// Holds a stream from its generation on; a tick that waited for it is tried again. A stream that began while we
    /// had a session is `owed` to us: then what came before we opened its run is missed too.
    pub(super) fn add_stream<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        grant: &StreamGrant,
        owed: bool,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        let at = (id, grant.id);
        if self.streams.contains_key(&at) {
            // Entry 1 repeats what the GRANT brought: a tick that this stream did not open then, it will not open now.
            return;
        }
        self.touch(id);
        self.streams.insert(at, HeldStream::new(id, grant, owed));
        self.stream_order.push(at);
        let held = self.stream_order.iter().filter(|(publisher, _)| *publisher == id).count();
        if held > MAX_STREAMS {
            self.drop_oldest_stream(id);
        }
        let parked = self.peers.get_mut(&id).and_then(|peer| peer.parked_tick.take());
        if let Some(tick) = parked
            && let Err(why) = self.on_tick(id, &tick, now, rng, out)
        {
            self.reject(&Control::Tick.topic(id), why, now, out);
        }
    }

    /// The file of known peers has changed: whoever is no longer allowed is not read any more.
    pub fn set_known(&mut self, known: KnownPeers) {
        self.trust.set_known(known);
        self.reported.clear();
        let trust = &self.trust;
        let gone = |peer: &Peer| trust.known().by_key(&peer.hello.key).is_none_or(|known| known.revoked);
        let gone: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| !peer.stranger && gone(peer)).map(|(id, _)| *id).collect();
        for id in gone {
            self.touch(id);
            self.peers.remove(&id);
            while self.stream_order.iter().any(|(publisher, _)| *publisher == id) {
                self.drop_oldest_stream(id);
            }
        }
    }

    fn drop_oldest_stream(&mut self, id: PeerId) {
        let Some(at) = self.stream_order.iter().position(|(publisher, _)| *publisher == id) else { return };
        let (publisher, stream) = self.stream_order.remove(at);
        self.touch(id);
        self.streams.remove(&(publisher, stream));
        let mut dropped = 0;
        for candidates in self.runs.values_mut() {
            let before = candidates.len();
            candidates.retain(|run| run.publisher != publisher || run.stream != stream);
            dropped += before - candidates.len();
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.runs = peer.runs.saturating_sub(dropped);
        }
        self.runs.retain(|_, candidates| !candidates.is_empty());
    }
}
