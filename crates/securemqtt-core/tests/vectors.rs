//! The known answers of `vectors/`, which an implementation of its own has computed from PROTOCOL.md: both engines
//! must write the same bytes from the same randomness, and must open what the other implementation has sealed.
//!
//! The intermediate values (h, ck, every key) are checked where they live: see the tests of `kdf` and `handshake`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::kdf::AckKey;
use securemqtt_core::peers::{KnownPeers, Peer};
use securemqtt_core::primitives::{AeadKey, sha256};
use securemqtt_core::topic::Control;
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::wire::{
    Receipt, Report, Retry, RunPositions, Status, TickBody, TopicPosition, TopicReport, topic_hash,
};
use securemqtt_core::{Now, publisher, subscriber};
use zeroize::Zeroizing;

#[path = "../src/vectors.rs"]
mod file;
use file::Vectors;

const CLOCK: u64 = 1_800_000_000_000;

/// "Randomness" that replays given bytes, then ones.
#[derive(Default)]
struct Replay(VecDeque<u8>);

impl Replay {
    fn then(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// An ephemeral key: p256 reads its scalar in little-endian order.
    fn ephemeral(self, scalar: &[u8]) -> Self {
        self.then(&scalar.iter().rev().copied().collect::<Vec<_>>())
    }

    /// A stream: secret, id (drawn as a number, so in little-endian order), signing key.
    fn stream(self, vectors: &Vectors, section: &str) -> Self {
        let id: Vec<u8> = vectors.hex(section, "stream_id").into_iter().rev().collect();
        self.then(&vectors.hex(section, "gs_0")).then(&id).then(&vectors.hex(section, "signing_key"))
    }
}

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            *byte = self.0.pop_front().unwrap_or(1);
        }
        Ok(())
    }
}

impl TryCryptoRng for Replay {}

fn identity(vectors: &Vectors, name: &str) -> IdentityKey {
    let key = IdentityKey::from_bytes(&vectors.array("identities", &format!("{name}_secret"))).unwrap();
    assert_eq!(key.public().as_bytes()[..], vectors.hex("identities", &format!("{name}_public")));
    assert_eq!(key.public().id().as_bytes()[..], vectors.hex("identities", &format!("{name}_id")));
    key
}

fn known(name: &str, key: &IdentityKey) -> KnownPeers {
    let mut known = KnownPeers::default();
    let key = key.public().clone();
    known.add(Peer { name: name.parse().unwrap(), key, revoked: false, comment: None }).unwrap();
    known
}

fn at(ms: u64) -> Now {
    Now { mono_ms: ms, unix_ms: CLOCK + ms }
}

/// The two engines of a story, each with the other pinned.
struct Story {
    vectors: Vectors,
    p: IdentityKey,
    s: IdentityKey,
    publisher: publisher::Publisher,
    subscriber: subscriber::Subscriber,
}

impl Story {
    fn new(vectors: Vectors, signed_frames: bool) -> Self {
        let (p, s) = (identity(&vectors, "P"), identity(&vectors, "S"));
        let (p_name, s_name) = (vectors.text("hello", "name"), vectors.text("request", "name"));

        let config =
            publisher::Config { signed_frames, ratchet_ms: 15_000, ..publisher::Config::new(p_name.parse().unwrap()) };
        let trust = Trust::new(TrustMode::Strict, p.public().id(), known(s_name, &s), Vec::new());
        let mut rng = Replay::default()
            .stream(&vectors, "stream 1")
            .then(&vectors.hex("hello", "challenge"))
            .then(&vectors.hex("stream 1", "run"));
        let publisher = publisher::Publisher::new(p.clone(), trust, config, at(0), &mut rng);
        assert!(rng.0.is_empty(), "all of the randomness is used");

        let trust = Trust::new(TrustMode::Strict, s.public().id(), known(p_name, &p), Vec::new());
        let config = subscriber::Config {
            name: s_name.parse().unwrap(),
            filters: vec!["#".to_owned()],
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let subscriber = subscriber::Subscriber::new(s.clone(), trust, config);
        Self { vectors, p, s, publisher, subscriber }
    }

    fn message(&self, section: &str) -> Vec<u8> {
        self.vectors.hex(section, "message")
    }

    fn topic(&self, control: Control) -> String {
        control.topic(self.p.public().id())
    }

    /// The publisher takes a message of the story on its `in` topic; what it sends, as (topic, payload).
    fn publisher_takes(&mut self, section: &str, ms: u64, rng: &mut Replay) -> Vec<(String, Vec<u8>)> {
        let mut out = publisher::Output::default();
        let topic = self.topic(Control::In);
        self.publisher.handle(&topic, &self.message(section), at(ms), rng, &mut out);
        sent(out.send)
    }

    /// The subscriber takes a message of the story; what it sends to the publisher, and the readings.
    fn subscriber_takes(&mut self, topic: &str, section: &str, ms: u64, rng: &mut Replay) -> Taken {
        let mut out = subscriber::Output::default();
        self.subscriber.handle(topic, &self.message(section), at(ms), rng, &mut out);
        let to_publisher = self.topic(Control::In);
        assert!(out.send.iter().all(|message| message.topic == to_publisher));
        Taken {
            sent: out.send.into_iter().map(|message| message.payload).collect(),
            readings: out.deliveries.into_iter().map(|delivery| (delivery.seq, delivery.payload.to_vec())).collect(),
            events: out.events,
        }
    }

    /// The subscriber opens a FRAME or BATCH of the story to these readings.
    fn subscriber_reads(&mut self, section: &str, first: u32, readings: &[&[u8]]) {
        let topic = self.vectors.text(section, "topic").to_owned();
        let taken = self.subscriber_takes(&topic, section, 40_000, &mut Replay::default());
        let expected: Vec<_> = (first..).zip(readings.iter().map(|reading| reading.to_vec())).collect();
        assert_eq!(taken.readings, expected, "{section}: {:?}", taken.events);
    }

    /// HELLO to confirm, by both engines.
    fn handshake(&mut self) {
        let mut out = publisher::Output::default();
        self.publisher.connected(at(0), &mut out);
        let (hello_topic, tick_topic) = (self.topic(Control::Hello), self.topic(Control::Tick));
        let (hello, tick) = (self.message("hello"), self.message("tick 0"));
        assert_eq!(sent(out.send), [(hello_topic.clone(), hello), (tick_topic.clone(), tick)]);

        let mut rng = Replay::default().ephemeral(&self.vectors.hex("request", "e_secret"));
        let taken = self.subscriber_takes(&hello_topic, "hello", 0, &mut rng);
        assert_eq!(taken.sent, [self.message("request")]);

        let mut rng = Replay::default().ephemeral(&self.vectors.hex("grant", "e_secret"));
        let sent = self.publisher_takes("request", 0, &mut rng);
        let to = self.topic(Control::To(self.s.public().id()));
        assert_eq!(sent, [(to.clone(), self.message("grant"))]);

        let taken = self.subscriber_takes(&to, "grant", 0, &mut Replay::default());
        assert_eq!(taken.sent.len(), 1, "the confirm: {:?}", taken.events);
        if self.vectors.text("hello", "name") == "bed-3" {
            assert_eq!(taken.sent, [self.message("confirm")]);
        }
        let taken = self.subscriber_takes(&tick_topic, "tick 0", 0, &mut Replay::default());
        assert!(taken.sent.is_empty() && taken.events.is_empty(), "{:?}", taken.events);
    }
}

struct Taken {
    sent: Vec<Vec<u8>>,
    readings: Vec<(u32, Vec<u8>)>,
    events: Vec<subscriber::Event>,
}

fn sent(messages: Vec<securemqtt_core::Outgoing>) -> Vec<(String, Vec<u8>)> {
    messages.into_iter().map(|message| (message.topic, message.payload)).collect()
}

const SIGNED: &str = include_str!("../../../vectors/signed.json");
const VALVE: &str = "plant/boiler/valve";
const VITALS: &str = "hospital/ward-7/bed-3/vitals";
const WAVES: &str = "hospital/ward-7/bed-3/wellen-ä";
const READING: &[u8] =
    br#"{"time":"2027-01-15T08:00:00Z","device":"bed-3","metric":"heart_rate","value":72,"unit":"1/min","quality":"ok"}"#;

#[test]
fn both_engines_write_the_session_byte_for_byte() {
    let mut story = Story::new(Vectors::session(), false);
    story.handshake();
    let (tick, keys) = (story.topic(Control::Tick), story.topic(Control::Keys(story.s.public().id())));

    // A stranger is refused.
    let stranger = identity(&story.vectors, "stranger").public().id();
    let mut rng = Replay::default().ephemeral(&story.vectors.hex("refusal", "e_secret"));
    let refusal = (story.topic(Control::To(stranger)), story.message("refusal"));
    assert_eq!(story.publisher_takes("stranger's request", 0, &mut rng), [refusal]);

    // Confirm, entry 1, its acknowledgement.
    let mut rng = Replay::default().then(&story.vectors.hex("keys 1", "salt"));
    let expected = [(keys.clone(), story.message("keys 1")), (tick.clone(), story.message("tick 1"))];
    assert_eq!(story.publisher_takes("confirm", 0, &mut rng), expected);
    let taken = story.subscriber_takes(&keys, "keys 1", 0, &mut Replay::default());
    assert_eq!(taken.sent, [story.message("ack 1")]);
    assert_eq!(story.publisher_takes("ack 1", 0, &mut Replay::default()), [(keys.clone(), Vec::new())]);

    // Readings.
    assert_eq!(story.publisher.seal(VITALS, READING).unwrap(), story.message("frame 0"));
    let batch = story.publisher.seal_batch(VITALS, &[b"spo2=98", b"", b"temp=36.8"]).unwrap();
    assert_eq!(batch, story.message("batch 1"));
    assert_eq!(story.publisher.seal_batch(WAVES, &[&[][..]; 300]).unwrap(), story.message("long batch"));
    assert_eq!(story.publisher.seal(WAVES, &[0, 0xff, 0x7f, 0x80]).unwrap(), story.message("frame 300"));
    let mut out = publisher::Output::default();
    story.publisher.poll(at(10_000), &mut Replay::default(), &mut out);
    assert_eq!(sent(out.send).last(), Some(&(tick.clone(), story.message("tick 2"))));

    // The next generation.
    let mut out = publisher::Output::default();
    story.publisher.poll(at(15_000), &mut Replay::default(), &mut out);
    assert_eq!(story.publisher.seal(VITALS, b"hr=73").unwrap(), story.message("frame 4"));
    story.publisher.poll(at(20_000), &mut Replay::default(), &mut out);
    assert_eq!(sent(out.send).last(), Some(&(tick.clone(), story.message("tick 3"))));

    // Rotation: entry 2, its acknowledgement, the switch.
    let mut out = publisher::Output::default();
    let mut rng = Replay::default().stream(&story.vectors, "stream 2").then(&story.vectors.hex("keys 2", "salt"));
    story.publisher.rotate(at(25_000), &mut rng, &mut out);
    assert_eq!(sent(out.send), [(keys.clone(), story.message("keys 2"))]);
    let taken = story.subscriber_takes(&keys, "keys 2", 25_000, &mut Replay::default());
    assert_eq!(taken.sent, [story.message("ack 2")]);
    let mut rng = Replay::default().then(&story.vectors.hex("stream 2", "run"));
    let expected = [
        (keys.clone(), Vec::new()),
        (tick.clone(), story.message("last tick")),
        (tick.clone(), story.message("first tick of stream 2")),
    ];
    assert_eq!(story.publisher_takes("ack 2", 25_000, &mut rng), expected);
    assert_eq!(story.publisher.seal(VITALS, b"hr=74").unwrap(), story.message("frame of stream 2"));

    // Revocation: entry 3.
    let mut out = publisher::Output::default();
    let mut rng = Replay::default().then(&story.vectors.hex("keys 3", "salt"));
    assert!(story.publisher.revoke(&"ward-monitor".parse().unwrap(), at(30_000), &mut rng, &mut out));
    assert_eq!(sent(out.send).first(), Some(&(keys, story.message("keys 3"))));
}

#[test]
fn the_subscriber_opens_what_the_other_implementation_sealed() {
    let mut story = Story::new(Vectors::session(), false);
    story.handshake();
    let (tick, keys) = (story.topic(Control::Tick), story.topic(Control::Keys(story.s.public().id())));
    let quiet = |taken: Taken| assert!(taken.events.is_empty(), "{:?}", taken.events);

    quiet(story.subscriber_takes(&keys, "keys 1", 0, &mut Replay::default()));
    quiet(story.subscriber_takes(&tick, "tick 1", 0, &mut Replay::default()));
    story.subscriber_reads("frame 0", 0, &[READING]);
    story.subscriber_reads("batch 1", 1, &[b"spo2=98", b"", b"temp=36.8"]);
    story.subscriber_reads("long batch", 0, &[&[][..]; 300]);
    story.subscriber_reads("frame 300", 300, &[&[0, 0xff, 0x7f, 0x80]]);
    quiet(story.subscriber_takes(&tick, "tick 2", 40_000, &mut Replay::default()));
    story.subscriber_reads("frame 4", 4, &[b"hr=73"]);
    quiet(story.subscriber_takes(&tick, "tick 3", 40_000, &mut Replay::default()));
    quiet(story.subscriber_takes(&keys, "keys 2", 40_000, &mut Replay::default()));
    quiet(story.subscriber_takes(&tick, "last tick", 40_000, &mut Replay::default()));
    quiet(story.subscriber_takes(&tick, "first tick of stream 2", 40_000, &mut Replay::default()));
    story.subscriber_reads("frame of stream 2", 0, &[b"hr=74"]);
    let taken = story.subscriber_takes(&keys, "keys 3", 40_000, &mut Replay::default());
    let name = story.vectors.text("hello", "name").parse().unwrap();
    assert_eq!(taken.events, [subscriber::Event::Dismissed { name, status: Status::Revoked }]);
    assert_eq!((story.subscriber.counters().forged, story.subscriber.counters().missing), (0, 0));
}

#[test]
fn signed_frames() {
    let mut story = Story::new(Vectors::parse(SIGNED), true);
    story.handshake();
    assert_eq!(story.publisher.seal(VALVE, b"open").unwrap(), story.message("frame 0"));
    assert_eq!(story.publisher.seal_batch(VALVE, &[b"shut", b"open"]).unwrap(), story.message("batch 1"));
    story.subscriber_reads("frame 0", 0, &[b"open"]);
    story.subscriber_reads("batch 1", 1, &[b"shut", b"open"]);
}

const RESTARTED: &str = "first tick of the second run";

/// Where the tick of the repair story says that its two runs stand.
fn restarted_positions(vectors: &Vectors) -> Vec<RunPositions> {
    let stream = u32::from_be_bytes(vectors.array("stream 1", "stream_id"));
    let leaves: Vec<u8> = (0..2).flat_map(|n| vectors.hex(&format!("frame {n} of the second run"), "leaf")).collect();
    let topic = |topic: &str, first_kept, from, next, digest| TopicPosition {
        topic: topic.to_owned(),
        first_kept,
        from,
        next,
        digest,
    };
    let own = topic(WAVES, 0, 0, 2, sha256(&[&leaves]));
    let older = topic(VITALS, 1, 7, 7, sha256(&[]));
    vec![
        RunPositions { run: vectors.array("second run", "run"), stream, topics: vec![own] },
        RunPositions { run: vectors.array("stream 1", "run"), stream, topics: vec![older] },
    ]
}

#[test]
fn a_tick_that_asks_for_a_report_and_says_what_is_kept() {
    let vectors = Vectors::repair();
    let expected = TickBody {
        report_wanted: true,
        last: false,
        commitment: vectors.array(RESTARTED, "commitment"),
        clock_ms: CLOCK + 30_000,
        runs: restarted_positions(&vectors),
    };
    assert_eq!(expected.encode(), vectors.hex(RESTARTED, "body"));
    let message = vectors.hex(RESTARTED, "message");
    let sealed = message.strip_prefix(&vectors.hex(RESTARTED, "header")[..]).unwrap();
    let key = AeadKey::new(&vectors.array(RESTARTED, "key"));
    let plain = key.open(0, &vectors.hex(RESTARTED, "aad"), sealed).unwrap();
    let (_, body, signature) = TickBody::decode(&plain).unwrap();
    assert_eq!(body, expected);
    assert_eq!(signature[..], vectors.hex(RESTARTED, "signature"));
}

#[test]
fn reports_and_receipts() {
    let vectors = Vectors::repair();
    let ka = AckKey::new(Zeroizing::new(vectors.array("split", "ka")));
    let sid = vectors.array("split", "sid");
    let entry = |run: &str, topic: &str, next, missing| TopicReport {
        run: vectors.array(run, "run"),
        topic: topic_hash(topic),
        next,
        missing,
    };
    let topics = vec![entry("stream 1", VITALS, 7, vec![(1, 4), (5, 6)]), entry("second run", WAVES, 2, Vec::new())];
    for (section, report) in
        [("report", Report { sid, sctr: 4, topics }), ("probe", Report { sid, sctr: 5, topics: Vec::new() })]
    {
        let message = vectors.hex(section, "message");
        assert_eq!(report.seal(&ka), message, "{section}");
        assert_eq!(Report::decode(&message), Ok(report), "{section}");
        assert_eq!(Report::verify(&message, &ka), Ok(()), "{section}");
    }
    let (message, receipt) = (vectors.hex("receipt", "message"), Receipt { sid, sctr: 5 });
    assert_eq!(receipt.seal(&ka), message);
    assert_eq!(Receipt::decode(&message), Ok(receipt));
    assert_eq!(Receipt::verify(&message, &ka), Ok(()));
}

#[test]
fn the_subscriber_follows_a_publisher_that_restarts_within_its_stream() {
    let mut story = Story::new(Vectors::repair(), false);
    story.handshake();
    let (tick, keys) = (story.topic(Control::Tick), story.topic(Control::Keys(story.s.public().id())));
    let taken = story.subscriber_takes(&keys, "keys 1", 0, &mut Replay::default());
    assert_eq!(taken.sent, [story.message("ack 1")]);
    story.subscriber_takes(&tick, "tick 1", 0, &mut Replay::default());
    story.subscriber_reads("frame 0", 0, &[b"hr=70"]);
    story.subscriber_reads("frame 4", 4, &[b"hr=74"]);
    story.subscriber_reads("frame 6", 6, &[b"hr=76"]);
    let taken = story.subscriber_takes(&tick, RESTARTED, 40_000, &mut Replay::default());
    assert!(taken.events.is_empty(), "{:?}", taken.events);
    story.subscriber_reads("frame 0 of the second run", 0, &[&[0, 0xff]]);
    story.subscriber_reads("frame 1 of the second run", 1, &[&[0x7f, 0x80]]);
    // What the report asks for, sent again byte for byte.
    story.subscriber_reads("batch 1", 1, &[b"hr=71", b"hr=72", b"hr=73"]);
    story.subscriber_reads("frame 5", 5, &[b"hr=75"]);
    assert_eq!((story.subscriber.counters().forged, story.subscriber.counters().missing), (0, 0));
}

#[test]
fn retry() {
    let vectors = Vectors::session();
    let request = vectors.hex("stranger's request", "message");
    let hello = vectors.hex("second hello", "message");
    let retry = Retry { request: Retry::request_hash(&request), hello: &hello };
    assert_eq!(retry.encode(), vectors.hex("retry", "message"));
    assert_eq!(Retry::decode(&vectors.hex("retry", "message")), Ok(retry));
}
