//! No secret can be printed: `Debug` of every type that holds one, and of both engines, shows none of its bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt::Debug;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use securemqtt_core::chain::{ChainReceiver, ChainSender};
use securemqtt_core::handshake::{Outcome, RequestInput, SessionKeys, read_request, request_mac_key, start};
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::kdf::ChainingKey;
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::primitives::AeadKey;
use securemqtt_core::stream::StreamSecret;
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::wire::{EntryPayload, GrantPayload, Hello, Request, RequestPayload, SUITE_1};
use securemqtt_core::{Delivery, Now, publisher, subscriber};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Fails if four bytes in a row of a secret appear in the debug output, in hex or as a list of numbers.
fn hides(value: &dyn Debug, secrets: &[&[u8]]) {
    let shown = [format!("{value:?}"), format!("{value:#?}"), format!("{value:x?}")].join("\n");
    let dense: String = shown.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    for window in secrets.iter().flat_map(|secret| secret.windows(4)) {
        let list = |of: fn(&u8) -> String| window.iter().map(of).collect::<Vec<_>>().join(",");
        let forms = [
            hex::encode(window),
            list(ToString::to_string),
            list(|byte| format!("{byte:x}")),
            list(|byte| format!("{byte:02x}")),
            list(|byte| format!("0x{byte:02x}")),
        ];
        for form in forms {
            assert!(!dense.contains(&form), "{shown} shows {form}");
        }
    }
    let text = secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()).find(|text| shown.contains(text));
    assert_eq!(text, None, "{shown}");
}

#[test]
fn the_check_itself_finds_what_is_shown() {
    #[derive(Debug)]
    struct Careless(#[expect(dead_code, reason = "shown by Debug")] [u8; 5]);
    let shows = |value: &dyn Debug| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hides(value, &[&[1, 20, 33, 4, 250]]))).is_err()
    };
    std::panic::set_hook(Box::new(|_| {}));
    let found = [shows(&Careless([1, 20, 33, 4, 250])), shows(&"011421 04FA"), shows(&Careless([9; 5]))];
    let _ = std::panic::take_hook();
    assert_eq!(found, [true, true, false]);
}

#[test]
fn secrets_of_every_type_are_hidden() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let (p, s) = (IdentityKey::generate(&mut rng), IdentityKey::generate(&mut rng));
    let (p_secret, s_secret) = (p.to_bytes(), s.to_bytes());
    hides(&p, &[&*p_secret]);
    hides(&ChainingKey::new(Zeroizing::new([0xc5; 32])), &[&[0xc5; 4]]);
    hides(&AeadKey::new(&[0xc5; 28]), &[&[0xc5; 4]]);

    let hello = Hello {
        suites: vec![SUITE_1],
        key: p.public().clone(),
        challenge: [3; 16],
        name: "publisher".parse().unwrap(),
    };
    let hello_bytes = hello.encode();
    let mac_key = request_mac_key(&s, p.public(), s.public());
    hides(&mac_key, &[mac_key.expose()]);
    let credential = b"bearer token of a person".to_vec();
    let payload = RequestPayload { sctr: 1, name: "subscriber".parse().unwrap(), credential: credential.clone() };
    hides(&payload, &[&credential]);
    let input =
        RequestInput { identity: &s, hello: &hello, hello_bytes: &hello_bytes, mac_key: &mac_key, payload: &payload };
    hides(&input, &[&*s_secret, mac_key.expose(), &credential]);
    let sent = start(&input, &mut rng).unwrap();

    let stream = StreamSecret::generate(p.public().id(), false, &mut rng);
    let grant = stream.grant();
    let gs = *grant.secret.expose();
    hides(&grant.secret, &[&gs]);
    hides(&grant, &[&gs]);
    hides(&stream, &[&gs]);
    hides(&GrantPayload::Granted { sctr: 1, stream: Box::new(grant.clone()) }, &[&gs]);
    hides(&EntryPayload::Stream(Box::new(grant.clone())), &[&gs]);

    let request = Request::decode(&sent.request).unwrap();
    let verified = read_request(&p, &hello_bytes, &request).unwrap();
    hides(&verified, &[&*p_secret, &credential]);
    let accepted = verified.grant(grant, 1, &mut rng).unwrap();
    let SessionKeys { sid: _, ka, wk_0 } = accepted.session.clone();
    let keys: [&[u8]; 3] = [ka.expose(), wk_0.expose(), &gs];
    hides(&ka, &keys);
    hides(&wk_0, &keys);
    hides(&accepted, &keys);
    hides(&sent, &keys);
    hides(&ChainSender::new(&accepted.session), &keys);
    hides(&ChainReceiver::new(&accepted.session), &keys);
    let outcome = sent.state.read_grant(&s, &accepted.grant).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)));
    hides(&outcome, &keys);
}

#[test]
fn engines_and_readings_are_hidden() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let now = Now { mono_ms: 0, unix_ms: 0 };
    let (p, s) = (IdentityKey::generate(&mut rng), IdentityKey::generate(&mut rng));
    let (p_secret, s_secret) = (p.to_bytes(), s.to_bytes());
    let trust =
        |own: &IdentityKey| Trust::new(TrustMode::AcceptNew, own.public().id(), KnownPeers::default(), Vec::new());
    let mut publisher = publisher::Publisher::new(
        p.clone(),
        trust(&p),
        publisher::Config::new("publisher".parse().unwrap()),
        now,
        &mut rng,
    );
    let config = subscriber::Config {
        name: "subscriber".parse().unwrap(),
        filters: vec!["#".to_owned()],
        exclude: Vec::new(),
        accept_rollback: false,
    };
    let mut subscriber = subscriber::Subscriber::new(s.clone(), trust(&s), config);

    let reading = b"the patient's secret".as_slice();
    let (mut to_s, mut to_p) = (publisher::Output::default(), subscriber::Output::default());
    publisher.connected(now, &mut to_s);
    let frame = publisher.seal("t", reading).unwrap();
    for _ in 0..4 {
        for message in std::mem::take(&mut to_s.send) {
            subscriber.handle(&message.topic, &message.payload, now, &mut rng, &mut to_p);
        }
        for message in std::mem::take(&mut to_p.send) {
            publisher.handle(&message.topic, &message.payload, now, &mut rng, &mut to_s);
        }
    }
    subscriber.handle("t", &frame, now, &mut rng, &mut to_p);
    assert_eq!(to_p.deliveries.iter().map(|delivery| &*delivery.payload).collect::<Vec<_>>(), [reading]);
    let secrets: [&[u8]; 3] = [&*p_secret, &*s_secret, reading];
    let debugs: [&dyn Debug; 4] = [&publisher, &subscriber, &to_s, &to_p];
    for value in debugs {
        hides(value, &secrets);
    }
    let delivery: &Delivery = &to_p.deliveries[0];
    hides(delivery, &secrets);
}

#[test]
fn secrets_are_wiped_on_drop() {
    const fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<IdentityKey>();
    wiped::<AeadKey>();
    wiped::<ChainingKey>();
    wiped::<securemqtt_core::kdf::AckKey>();
    wiped::<securemqtt_core::kdf::WrapKey>();
    wiped::<securemqtt_core::kdf::RequestMacKey>();
    wiped::<securemqtt_core::kdf::GenerationSecret>();
    // What the composite types hold besides those.
    wiped::<p256::SecretKey>();
    wiped::<p256::ecdsa::SigningKey>();
    wiped::<aes_gcm::aes::Aes128>();
}
