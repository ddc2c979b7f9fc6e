//! Random schedules: what is delivered was sent, once; and all of it, when the network delivers in the end.

use std::collections::{BTreeMap, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use securemqtt_core::identity::PeerId;
use securemqtt_core::publisher::Config;
use securemqtt_core::topic::filter_matches;
use securemqtt_core::trust::TrustMode;

use crate::network::{Fate, Net, Sent, Who, key, known, name, rng};

const FILTERS: [&str; 2] = ["t/#", "t/1"];

#[derive(Clone, Debug)]
enum Op {
    Send { publisher: usize, topic: u8 },
    Batch { publisher: usize, topic: u8, count: usize },
    Rotate { publisher: usize },
    Restart { publisher: usize },
    Pass { ms: u64 },
    Inject { seed: u64 },
    Release,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0..2usize, 0..3u8).prop_map(|(publisher, topic)| Op::Send { publisher, topic }),
        3 => (0..2usize, 0..3u8, 1..5usize).prop_map(|(publisher, topic, count)| Op::Batch { publisher, topic, count }),
        1 => (0..2usize).prop_map(|publisher| Op::Rotate { publisher }),
        1 => (0..2usize).prop_map(|publisher| Op::Restart { publisher }),
        6 => (1..12_000u64).prop_map(|ms| Op::Pass { ms }),
        3 => any::<u64>().prop_map(|seed| Op::Inject { seed }),
        1 => Just(Op::Release),
    ]
}

/// A world, what was sent in it, and how rough its network is.
struct World {
    net: Net,
    keys: [securemqtt_core::identity::IdentityKey; 2],
    sent: BTreeMap<Vec<u8>, (String, PeerId)>,
    seed: u64,
    lossy: bool,
}

impl World {
    fn new(seed: u64, lossy: bool) -> Self {
        let keys = [key(1), key(2)];
        let subscribers = [key(11), key(12)];
        let mut net = Net::new();
        for (index, publisher) in keys.iter().enumerate() {
            let mut config = Config::new(name(&format!("pub{index}")));
            config.ratchet_frames = 7;
            config.signed_frames = index == 1;
            let subs = known(&[("s0", &subscribers[0]), ("s1", &subscribers[1])]);
            net.add_publisher_with(publisher, TrustMode::Strict, subs, config);
        }
        for (subscriber, filter) in subscribers.iter().zip(FILTERS) {
            let pubs = known(&[("p0", &keys[0]), ("p1", &keys[1])]);
            net.add_subscriber(subscriber, TrustMode::Strict, pubs, &[filter]);
        }
        net.run(3_000);
        let mut world = Self { net, keys, sent: BTreeMap::new(), seed, lossy };
        world.disturb();
        world
    }

    /// Drops, holds, repeats and corrupts what is on its way.
    fn disturb(&mut self) {
        let (mut random, lossy) = (rng(self.seed), self.lossy);
        self.seed = self.seed.wrapping_add(1);
        self.net.adversary(move |sent, _| fate(sent, lossy, &mut random));
    }

    /// Everything that was held back arrives, the latest first, and time passes without an adversary.
    fn release(&mut self) {
        self.net.calm();
        self.net.run(40_000);
    }

    fn reading(&mut self, publisher: usize, topic: u8) -> (String, Vec<u8>) {
        let topic = format!("t/{topic}");
        let payload = format!("reading {}", self.sent.len()).into_bytes();
        self.sent.insert(payload.clone(), (topic.clone(), self.net.publisher_id(publisher)));
        (topic, payload)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Send { publisher, topic } => {
                let (topic, payload) = self.reading(publisher, topic);
                self.net.send(publisher, &topic, &payload);
            }
            Op::Batch { publisher, topic, count } => {
                let readings: Vec<(String, Vec<u8>)> = (0..count).map(|_| self.reading(publisher, topic)).collect();
                let payloads: Vec<&[u8]> = readings.iter().map(|(_, payload)| payload.as_slice()).collect();
                self.net.send_batch(publisher, &readings[0].0, &payloads);
            }
            Op::Rotate { publisher } => self.net.rotate(publisher),
            Op::Restart { publisher } => {
                // A publisher in memory forgets its streams: whoever has not got them by now never will.
                if !self.lossy {
                    self.release();
                }
                let identity = self.keys[publisher].clone();
                self.net.restart_publisher(publisher, &identity);
                if !self.lossy {
                    let (topic, payload) = self.reading(publisher, 0);
                    self.net.send(publisher, &topic, &payload);
                    self.net.run(10_000);
                }
                self.disturb();
            }
            Op::Pass { ms } => self.net.run(ms),
            Op::Inject { seed } => self.inject(seed),
            Op::Release => {
                self.release();
                self.disturb();
            }
        }
        self.net.settle();
    }

    /// Repeats or changes a message of the past, on its own topic or another's.
    fn inject(&mut self, seed: u64) {
        let mut random = rng(seed);
        let log = &self.net.log;
        let pick = |random: &mut ChaCha20Rng| log[below(random, log.len())].clone();
        let (mut sent, other) = (pick(&mut random), pick(&mut random));
        if random.next_u32().is_multiple_of(3) {
            sent.topic = other.topic;
        }
        if random.next_u32().is_multiple_of(2) && !sent.payload.is_empty() {
            let at = below(&mut random, sent.payload.len());
            sent.payload[at] ^= 1 << (random.next_u32() % 8);
        }
        self.net.inject(&sent.topic, sent.payload);
    }

    /// Nothing that was not sent, and nothing twice.
    fn check_safety(&self) {
        for node in &self.net.subscribers {
            let mut seen: HashMap<&[u8], u32> = HashMap::new();
            for delivery in &node.deliveries {
                let sent = self.sent.get(&*delivery.payload);
                assert_eq!(sent, Some(&(delivery.topic.to_string(), delivery.publisher)), "not what was sent");
                *seen.entry(&delivery.payload).or_default() += 1;
            }
            assert!(seen.values().all(|count| *count == 1), "delivered twice");
            assert_eq!(node.engine.counters().forged, 0, "nobody forged: {:?}", node.events);
        }
    }

    fn check_completeness(&self) {
        for (node, filter) in self.net.subscribers.iter().zip(FILTERS) {
            let wanted = self.sent.values().filter(|(topic, _)| filter_matches(filter, topic)).count();
            assert_eq!(node.deliveries.len(), wanted, "{:?}", node.events);
            assert_eq!(node.engine.counters().missing, 0, "{:?}", node.events);
            assert_eq!(node.engine.keyed(), 2);
        }
    }
}

fn below(random: &mut ChaCha20Rng, limit: usize) -> usize {
    random.next_u32() as usize % limit
}

fn fate(sent: &Sent, lossy: bool, random: &mut ChaCha20Rng) -> Fate {
    let mut corrupted = sent.payload.clone();
    if let Some(last) = corrupted.len().checked_sub(1) {
        let at = (random.next_u32() as usize).min(last).max(below(random, last + 1));
        corrupted[at] ^= 1 << (random.next_u32() % 8);
    }
    match random.next_u32() % 12 {
        0..=2 if sent.from != Who::Anyone => Fate::Hold,
        3 => Fate::Twice,
        4 => Fate::After(corrupted),
        5 if lossy => Fate::Drop,
        6 if lossy => Fate::Rewrite(corrupted),
        _ => Fate::Deliver,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_delivered_was_sent_and_arrives_once(seed in any::<u64>(), ops in vec(op(), 1..40)) {
        let mut world = World::new(seed, true);
        for op in &ops {
            world.apply(op);
        }
        world.release();
        world.check_safety();
    }

    #[test]
    fn all_of_it_arrives_when_the_network_delivers_in_the_end(seed in any::<u64>(), ops in vec(op(), 1..40)) {
        let mut world = World::new(seed, false);
        for op in &ops {
            world.apply(op);
        }
        world.release();
        world.release();
        world.check_safety();
        world.check_completeness();
    }
}
