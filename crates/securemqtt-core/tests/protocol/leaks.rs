//! What leaked keys open: nothing that came before, and nothing after the next handshake.

use securemqtt_core::chain::{ChainReceiver, ChainSender};
use securemqtt_core::handshake::SessionKeys;
use securemqtt_core::kdf::WrapKey;
use securemqtt_core::primitives::hkdf_expand;
use securemqtt_core::stream::StreamSecret;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Entry, EntryPayload, FrameHeader, Keys, Kind};

use crate::insider::{Insider, keys, request};
use crate::network::{Net, key, known, rng};

/// `wk_n`, by the formula alone.
fn stepped(wk: &WrapKey, n: u32) -> WrapKey {
    (0..n).fold(wk.clone(), |wk, _| WrapKey::new(hkdf_expand(wk.expose(), &[b"next"])))
}

/// Whether a chain key opens an entry, at whatever index its holder claims.
fn opens(session: &SessionKeys, wk: &WrapKey, entry: &Entry) -> bool {
    let stolen = SessionKeys { wk_0: wk.clone(), ..session.clone() };
    (0..8).any(|skip| {
        // The receiver derives forward only: shown as entry 1, 2, 3 … of the stolen chain.
        let shown = Entry { idx: skip + 1, ..entry.clone() };
        let genuine = Keys { sid: session.sid, entries: vec![entry.clone()] };
        let moved = Keys { sid: session.sid, entries: vec![shown] };
        [genuine, moved]
            .iter()
            .any(|keys| ChainReceiver::new(&stolen).open(keys).is_ok_and(|opened| !opened.payloads.is_empty()))
    })
}

/// Raw AES-GCM with a chain key, under the entry's true index.
fn decrypts(session: &SessionKeys, wk: &WrapKey, entry: &Entry) -> bool {
    let key = securemqtt_core::primitives::AeadKey::new(&hkdf_expand(wk.expose(), &[b"entry", &entry.salt]));
    key.open(0, &Keys::entry_aad(&session.sid, entry.idx, &entry.salt), &entry.sealed).is_ok()
}

#[test]
fn a_leaked_chain_key_opens_no_earlier_entry() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let session = Insider::join(&mut net, 0, &s, 1).session;
    let mut sender = ChainSender::new(&session);
    for seed in 0..4 {
        let stream = StreamSecret::generate(p.public().id(), false, &mut rng(seed)).grant();
        sender.seal(&EntryPayload::Stream(Box::new(stream)), &mut rng(50 + seed)).unwrap();
    }
    let entries = keys(&sender.keys()).entries;
    for leaked in 0..6 {
        let wk = stepped(&session.wk_0, leaked);
        for entry in &entries {
            let reach = entry.idx > leaked;
            let forward = (leaked..8).any(|n| decrypts(&session, &stepped(&session.wk_0, n), entry));
            assert_eq!(forward, reach, "wk_{leaked} and entry {}", entry.idx);
            if !reach {
                assert!(!opens(&session, &wk, entry), "wk_{leaked} and entry {}", entry.idx);
            }
        }
    }
}

#[test]
fn a_leaked_chain_key_opens_nothing_after_the_next_handshake() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let old = Insider::join(&mut net, 0, &s, 1);
    let input = Control::In.topic(old.publisher);
    net.inject(&input, old.ack(0, 2));
    net.settle();
    // Everything of the old session leaks here; then S heals by a full handshake, and P rotates on the new chain.
    let new = Insider::join(&mut net, 0, &s, 3);
    net.inject(&input, new.ack(0, 4));
    net.settle();
    net.rotate(0);
    net.settle();
    let topic = Control::Keys(s.public().id()).topic(old.publisher);
    let message = keys(&net.retained[&topic].payload);
    assert_eq!((message.sid, message.entries.len()), (new.session.sid, 2));
    for entry in &message.entries {
        let stolen = (0..20).any(|n| {
            let wk = stepped(&old.session.wk_0, n);
            decrypts(&old.session, &wk, entry) || decrypts(&new.session, &wk, entry)
        });
        assert!(!stolen);
    }
    assert_eq!(ChainReceiver::new(&new.session).open(&message).unwrap().payloads.len(), 2);
}

#[test]
fn a_grant_opens_no_earlier_generation() {
    let (p, s) = (key(1), key(2));
    let mut config = securemqtt_core::publisher::Config::new(crate::network::name("pub0"));
    config.ratchet_frames = 1;
    let mut net = Net::new();
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s)]), config);
    let early = net.send(0, "t/a", b"before");
    net.run(1_000);
    let late = Insider::join(&mut net, 0, &s, 1);
    let header = FrameHeader::decode(&early).unwrap().0;
    assert!(late.stream.generation > header.generation);
    // With the later secret in place of the earlier one, sealing the same reading gives other bytes.
    let guess = crate::insider::seal_as(late.publisher, late.stream.id, &late.stream.secret, header, "t/a", b"before");
    assert_ne!(guess, early);
    assert_eq!(guess.len(), early.len());
}

#[test]
fn the_same_formula_with_the_right_secret_gives_the_publishers_bytes() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let insider = Insider::join(&mut net, 0, &s, 1);
    let frame = net.send(0, "t/a", b"reading");
    let header = FrameHeader::decode(&frame).unwrap().0;
    assert_eq!(insider.seal(Kind::Frame, header.run, "t/a", header.seq, b"reading"), frame);
}

#[test]
fn identity_keys_that_leak_later_do_not_open_a_recorded_handshake() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let id = p.public().id();
    let (bytes, state) = request(&net, id, &s, 1, 1);
    net.inject(&Control::In.topic(id), bytes.clone());
    net.settle();
    let grant = net.last_of(Kind::Grant).payload;
    assert!(state.read_grant(&s, &grant).is_ok());
    // With both identities but without the ephemerals: P's half of the transcript reads the REQUEST …
    let hello = net.retained[&Control::Hello.topic(id)].payload.clone();
    let parsed = securemqtt_core::wire::Request::decode(&bytes).unwrap();
    let read = securemqtt_core::handshake::read_request(&p, &hello, &parsed).unwrap();
    assert_eq!(read.peer, *s.public());
    // … and S's half, made anew, has another ephemeral: the recorded GRANT does not open.
    for seed in 2..6 {
        let (_, other) = request(&net, id, &s, 1, seed);
        let mut moved = grant.clone();
        moved[1..9].copy_from_slice(&other.rid());
        assert!(other.read_grant(&s, &grant).is_err() && other.read_grant(&s, &moved).is_err());
    }
}
