//! A publisher made by hand, from the formulas of PROTOCOL.md alone: it keeps its stream and what it has sent over its
//! runs, takes REPORTs and answers them. What it does unasked is up to the test.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use securemqtt_core::chain::ChainSender;
use securemqtt_core::handshake::{SessionKeys, read_request};
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::kdf::{AckKey, GenerationSecret};
use securemqtt_core::primitives::{hkdf_expand, sha256};
use securemqtt_core::stream::StreamGrant;
use securemqtt_core::topic::Control;
use securemqtt_core::wire::{
    Ack, EntryPayload, FrameHeader, Hello, Kind, Receipt, Report, Request, RunPositions, Status, TickBody,
    TopicPosition, topic_hash,
};

use crate::insider::{retain, seal_as};
use crate::network::{Net, name, rng};

/// A frame is not sent again sooner than this.
const AGAIN_MS: u64 = 5_000;

/// A stream, with all that its publisher has of it.
struct HandStream {
    id: u32,
    signing: SigningKey,
}

/// A run, and every frame of it.
pub struct HandRun {
    pub number: [u8; 5],
    stream: Rc<HandStream>,
    pub topics: BTreeMap<String, Vec<Vec<u8>>>,
    /// By topic, the first number that it can still send.
    pub first_kept: BTreeMap<String, u32>,
    tick_seq: u32,
}

struct HandSession {
    subscriber: PeerId,
    keys: SessionKeys,
    chain: ChainSender,
}

/// What a tick says.
#[derive(Clone, Copy, Default)]
pub struct Tick {
    pub asks: bool,
    pub last: bool,
    /// How many of the runs before are named.
    pub older: usize,
    /// How many of the latest of them are left out.
    pub skip: usize,
}

/// The publisher.
pub struct Hand {
    identity: IdentityKey,
    pub id: PeerId,
    hello: Vec<u8>,
    stream: Rc<HandStream>,
    generation: u8,
    secret: GenerationSecret,
    sessions: Vec<HandSession>,
    /// By subscriber, the highest counter.
    pub counters: HashMap<PeerId, u64>,
    told_stale: Vec<PeerId>,
    /// The last one is the current one.
    pub runs: Vec<HandRun>,
    /// How many older runs its tick names when a session is confirmed.
    pub names: usize,
    /// Whether nothing that is sent to it arrives.
    pub deaf: bool,
    /// Whether it answers probes, and whether it sends again what is wanted.
    pub answers: bool,
    pub repairs: bool,
    /// Every report that verified: when it came, and whose it is; those about nothing apart.
    pub reports: Vec<(u64, PeerId, Report)>,
    pub probes: Vec<(u64, PeerId, u64)>,
    /// What it says instead of the counter that it remembers.
    pub lie: Option<u64>,
    /// What was sent again, and when last.
    again: HashMap<(usize, String, usize), u64>,
    pub sent_again: usize,
    rng: ChaCha20Rng,
}

impl Hand {
    fn new(identity: &IdentityKey, seed: u64) -> Self {
        let mut rng = rng(seed);
        let mut challenge = [0; 16];
        rng.fill_bytes(&mut challenge);
        let hello = Hello { suites: vec![1], key: identity.public().clone(), challenge, name: name("by-hand") };
        let stream = Rc::new(HandStream { id: rng.next_u32(), signing: SigningKey::generate_from_rng(&mut rng) });
        let secret = new_secret(&mut rng);
        let mut hand = Self {
            identity: identity.clone(),
            id: identity.public().id(),
            hello: hello.encode(),
            stream,
            generation: 0,
            secret,
            sessions: Vec::new(),
            counters: HashMap::new(),
            told_stale: Vec::new(),
            runs: Vec::new(),
            names: 3,
            deaf: false,
            answers: true,
            repairs: true,
            reports: Vec::new(),
            probes: Vec::new(),
            lie: None,
            again: HashMap::new(),
            sent_again: 0,
            rng,
        };
        hand.begin_run();
        hand
    }

    /// The next run of the stream: a process start.
    pub fn begin_run(&mut self) -> [u8; 5] {
        let mut number = [0; 5];
        self.rng.fill_bytes(&mut number);
        let stream = Rc::clone(&self.stream);
        self.runs.push(HandRun { number, stream, topics: BTreeMap::new(), first_kept: BTreeMap::new(), tick_seq: 0 });
        number
    }

    /// Forgets all runs but the last two.
    pub fn forget_runs(&mut self) {
        let gone = self.runs.len().saturating_sub(2);
        self.runs.drain(..gone);
        self.again.clear();
    }

    /// The next stream, for every session, and a run of it. Its signing key is the one before: that costs less.
    pub fn rotate(&mut self, net: &mut Net) {
        let stream = HandStream { id: self.rng.next_u32(), signing: self.stream.signing.clone() };
        (self.stream, self.secret, self.generation) = (Rc::new(stream), new_secret(&mut self.rng), 0);
        let grant = self.grant();
        for session in &mut self.sessions {
            session.chain.seal(&EntryPayload::Stream(Box::new(grant.clone())), &mut self.rng).unwrap();
            retain(net, &Control::Keys(session.subscriber).topic(self.id), session.chain.keys());
        }
        self.begin_run();
    }

    /// The next generation of the stream.
    pub fn step(&mut self) {
        let id = self.stream.id.to_be_bytes();
        let next = hkdf_expand(self.secret.expose(), &[b"gen", self.id.as_bytes(), &id]);
        self.secret = GenerationSecret::new(next);
        self.generation += 1;
    }

    fn grant(&self) -> StreamGrant {
        let point = self.stream.signing.verifying_key().as_affine().to_sec1_point(true);
        let parts: [&[u8]; 5] =
            [&[0], &self.stream.id.to_be_bytes(), &[self.generation], self.secret.expose(), point.as_bytes()];
        StreamGrant::decode(&parts.concat()).unwrap()
    }

    pub fn say_hello(&self, net: &mut Net) {
        retain(net, &Control::Hello.topic(self.id), self.hello.clone());
    }

    /// Seals a reading, and returns its number and the frame.
    pub fn seal(&mut self, topic: &str, reading: &[u8]) -> (u32, Vec<u8>) {
        let run = self.runs.last_mut().unwrap();
        let frames = run.topics.entry(topic.to_owned()).or_default();
        let seq = u32::try_from(frames.len()).unwrap();
        let header = FrameHeader { kind: Kind::Frame, run: run.number, generation: self.generation, seq };
        let frame = seal_as(self.id, self.stream.id, &self.secret, header, topic, reading);
        frames.push(frame.clone());
        (seq, frame)
    }

    pub fn send(&mut self, net: &mut Net, topic: &str, reading: &[u8]) -> Vec<u8> {
        let frame = self.seal(topic, reading).1;
        net.inject(topic, frame.clone());
        frame
    }

    /// Keeps nothing below a number any more.
    pub fn drop_below(&mut self, run: usize, topic: &str, seq: u32) {
        self.runs[run].first_kept.insert(topic.to_owned(), seq);
    }

    /// Publishes a tick of the current run.
    pub fn tick(&mut self, net: &mut Net, tick: Tick) -> Vec<u8> {
        self.tick_of(net, tick, |_| true)
    }

    /// The same, about some of the topics.
    pub fn tick_of(&mut self, net: &mut Net, tick: Tick, about: impl Fn(&str) -> bool) -> Vec<u8> {
        let tick = self.seal_tick(net, tick, about, true);
        retain(net, &Control::Tick.topic(self.id), tick.clone());
        tick
    }

    /// The next tick with a signature that is wrong, as another subscriber could make it.
    pub fn unsigned_tick(&mut self, net: &Net, tick: Tick) -> Vec<u8> {
        self.seal_tick(net, tick, |_| true, false)
    }

    fn seal_tick(&mut self, net: &Net, tick: Tick, about: impl Fn(&str) -> bool, signed: bool) -> Vec<u8> {
        let current = self.runs.len() - 1;
        let behind = current.saturating_sub(tick.skip);
        let older = behind.saturating_sub(tick.older)..behind;
        let runs = std::iter::once(current).chain(older.rev()).map(|run| self.positions(run, &about)).collect();
        let run = &mut self.runs[current];
        let seq = run.tick_seq;
        run.tick_seq += 1;
        let number = run.number;
        let stream = self.stream.id.to_be_bytes();
        let info: [&[u8]; 5] = [b"commit", self.id.as_bytes(), &stream, &number, &[self.generation]];
        let commitment = *hkdf_expand(self.secret.expose(), &info);
        let (report_wanted, last) = (tick.asks, tick.last);
        let body = TickBody { report_wanted, last, commitment, clock_ms: net.now.unix_ms, runs }.encode();
        let header = FrameHeader { kind: Kind::Tick, run: number, generation: self.generation, seq };
        let topic = Control::Tick.topic(self.id);
        let mut clear = Vec::new();
        header.encode_into(&mut clear);
        let topic_len = u16::try_from(topic.len()).unwrap().to_be_bytes();
        let parts: [&[u8]; 6] = [b"securemqtt/1 tick", self.id.as_bytes(), &clear, &topic_len, topic.as_bytes(), &body];
        let signature: Signature = self.stream.signing.sign(&parts.concat());
        let signature = if signed { signature.to_bytes().to_vec() } else { vec![1; 64] };
        seal_as(self.id, self.stream.id, &self.secret, header, &topic, &[body, signature].concat())
    }

    /// Tells a subscriber that its session is over.
    pub fn dismiss(&mut self, net: &mut Net, subscriber: PeerId) {
        let mut session = self.sessions.iter_mut().find(|session| session.subscriber == subscriber);
        let chain = &mut session.as_mut().unwrap().chain;
        chain.seal(&EntryPayload::Notice(Status::Revoked), &mut self.rng).unwrap();
        let keys = chain.keys();
        retain(net, &Control::Keys(subscriber).topic(self.id), keys);
    }

    fn positions(&self, run: usize, about: impl Fn(&str) -> bool) -> RunPositions {
        let run = &self.runs[run];
        let position = |(topic, frames): (&String, &Vec<Vec<u8>>)| {
            let next = u32::try_from(frames.len()).unwrap();
            let first_kept = run.first_kept.get(topic).copied().unwrap_or(0);
            TopicPosition { topic: topic.clone(), first_kept, from: next, next, digest: sha256(&[]) }
        };
        let topics = run.topics.iter().filter(|(topic, _)| about(topic)).map(position).collect();
        RunPositions { run: run.number, stream: run.stream.id, topics }
    }

    /// Takes a message from its `in` topic.
    fn take(&mut self, net: &mut Net, message: &[u8]) {
        match Kind::of(message) {
            _ if self.deaf => {}
            Ok(Kind::Request) => self.take_request(net, message),
            Ok(Kind::Ack) => self.take_ack(net, message),
            Ok(Kind::Report) => self.take_report(net, message),
            _ => {}
        }
    }

    fn take_request(&mut self, net: &mut Net, message: &[u8]) {
        let request = Request::decode(message).unwrap();
        let Ok(verified) = read_request(&self.identity, &self.hello, &request) else { return };
        let subscriber = request.subscriber;
        let seen = self.counters.entry(subscriber).or_default();
        let answer = if verified.payload.sctr <= *seen {
            self.told_stale.push(subscriber);
            verified.refuse(Status::StaleCounter, *seen, &mut self.rng).unwrap()
        } else {
            *seen = verified.payload.sctr;
            let sctr = *seen;
            if self.told_stale.contains(&subscriber) {
                self.told_stale.retain(|told| *told != subscriber);
                self.step();
            }
            let accepted = verified.grant(self.grant(), sctr, &mut self.rng).unwrap();
            let chain = ChainSender::new(&accepted.session);
            self.sessions.push(HandSession { subscriber, keys: accepted.session, chain });
            accepted.grant
        };
        net.inject(&Control::To(subscriber).topic(self.id), answer);
    }

    fn take_ack(&mut self, net: &mut Net, message: &[u8]) {
        let ack = Ack::decode(message).unwrap();
        let grant = self.grant();
        let Some(session) = self.sessions.iter_mut().find(|session| session.keys.sid == ack.sid) else { return };
        Ack::verify(message, &session.keys.ka).unwrap();
        let subscriber = session.subscriber;
        let seen = self.counters.entry(subscriber).or_default();
        if ack.sctr <= *seen {
            return;
        }
        *seen = ack.sctr;
        let topic = Control::Keys(subscriber).topic(self.id);
        if ack.idx > 0 {
            assert!(session.chain.acknowledge(ack.idx));
            return retain(net, &topic, if session.chain.is_settled() { Vec::new() } else { session.chain.keys() });
        }
        if session.chain.index() == 0 {
            session.chain.seal(&EntryPayload::Stream(Box::new(grant)), &mut self.rng).unwrap();
        }
        retain(net, &topic, session.chain.keys());
        let sid = ack.sid;
        self.sessions.retain(|session| session.subscriber != subscriber || session.keys.sid == sid);
        self.tick(net, Tick { older: self.names, ..Tick::default() });
    }

    fn take_report(&mut self, net: &mut Net, message: &[u8]) {
        let report = Report::decode(message).unwrap();
        let Some(session) = self.sessions.iter().find(|session| session.keys.sid == report.sid) else { return };
        Report::verify(message, &session.keys.ka).unwrap();
        let (subscriber, ka) = (session.subscriber, session.keys.ka.clone());
        let seen = self.counters.entry(subscriber).or_default();
        let rises = report.sctr > *seen;
        let is_stale = report.sctr < *seen;
        *seen = report.sctr.max(*seen);
        let sctr = *seen;
        if self.answers && (report.topics.is_empty() || !rises) {
            if is_stale {
                self.told_stale.push(subscriber);
            }
            self.receipt(net, subscriber, report.sid, &ka, sctr);
        }
        if report.topics.is_empty() {
            self.probes.push((net.now.mono_ms, subscriber, report.sctr));
        } else {
            self.reports.push((net.now.mono_ms, subscriber, report.clone()));
        }
        if rises && self.repairs {
            self.repair(net, &report);
        }
    }

    fn receipt(&self, net: &mut Net, subscriber: PeerId, sid: [u8; 8], ka: &AckKey, sctr: u64) {
        let sctr = self.lie.unwrap_or(sctr);
        net.inject(&Control::To(subscriber).topic(self.id), Receipt { sid, sctr }.seal(ka));
    }

    /// Sends again what a report wants, byte for byte.
    fn repair(&mut self, net: &mut Net, report: &Report) {
        for wanted in &report.topics {
            let Some(at) = self.runs.iter().position(|run| run.number == wanted.run) else { continue };
            let named = self.runs[at].topics.iter().find(|(topic, _)| topic_hash(topic) == wanted.topic);
            let Some((topic, frames)) = named.map(|(topic, frames)| (topic.clone(), frames.clone())) else { continue };
            let kept = self.runs[at].first_kept.get(&topic).copied().unwrap_or(0);
            for seq in wanted.missing.iter().flat_map(|&(from, to)| from.max(kept)..to) {
                let seq = usize::try_from(seq).unwrap();
                let last = self.again.insert((at, topic.clone(), seq), net.now.mono_ms);
                if last.is_none_or(|last| last + AGAIN_MS <= net.now.mono_ms) {
                    net.inject(&topic, frames[seq].clone());
                    self.sent_again += 1;
                }
            }
        }
    }

    /// The numbers that one report or another has asked for, with repetitions.
    pub fn asked(&self) -> Vec<u32> {
        let ranges = self.reports.iter().flat_map(|(_, _, report)| &report.topics).flat_map(|topic| &topic.missing);
        ranges.flat_map(|&(from, to)| from..to).collect()
    }
}

fn new_secret(rng: &mut ChaCha20Rng) -> GenerationSecret {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *secret);
    GenerationSecret::new(secret)
}

/// Publishers made by hand, and the part of the world's messages that they have read.
pub struct Hands {
    pub all: Vec<Hand>,
    by_topic: HashMap<String, usize>,
    read: usize,
}

impl Hands {
    /// Publishers with these identities. They have said hello, and every subscriber that knows them has a session.
    pub fn of(net: &mut Net, identities: &[IdentityKey]) -> Self {
        let seeds = 70_000..;
        let all: Vec<Hand> = identities.iter().zip(seeds).map(|(identity, seed)| Hand::new(identity, seed)).collect();
        let by_topic = all.iter().enumerate().map(|(at, hand)| (Control::In.topic(hand.id), at)).collect();
        let mut hands = Self { all, by_topic, read: net.log.len() };
        for hand in &hands.all {
            hand.say_hello(net);
        }
        hands.run(net, 3_000);
        hands
    }

    /// Lets every message arrive, and what follows from it.
    pub fn settle(&mut self, net: &mut Net) {
        loop {
            net.settle();
            if self.read >= net.log.len() {
                return;
            }
            while let Some(sent) = net.log.get(self.read).cloned() {
                self.read += 1;
                if let Some(at) = self.by_topic.get(&sent.topic) {
                    self.all[*at].take(net, &sent.payload);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, net: &mut Net, ms: u64) {
        self.settle(net);
        for _ in 0..ms / 100 {
            net.run(100);
            self.settle(net);
        }
    }

    /// Forgets what was said, as far as everybody has read it.
    pub fn forget(&mut self, net: &mut Net) {
        self.settle(net);
        net.log.clear();
        self.read = 0;
    }
}
