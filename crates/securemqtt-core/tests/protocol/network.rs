//! A broker in memory, with time of its own, that keeps retained messages and lets a test drop, hold back,
//! duplicate, reorder, inject and rewrite.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::packed::Places;
use securemqtt_core::peers::{KnownPeers, Peer, PeerName};
use securemqtt_core::record::{Record, Table};
use securemqtt_core::topic::filter_matches;
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::wire::Kind;
use securemqtt_core::{Delivery, Now, Outgoing, publisher, subscriber};

use crate::disk::Disk;

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn key(seed: u64) -> IdentityKey {
    IdentityKey::generate(&mut rng(seed))
}

pub fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

/// known_peers with these names and keys.
pub fn known(peers: &[(&str, &IdentityKey)]) -> KnownPeers {
    let mut known = KnownPeers::default();
    for (text, key) in peers {
        known.add(Peer { name: name(text), key: key.public().clone(), revoked: false, comment: None }).unwrap();
    }
    known
}

/// Whether a message is of a kind.
pub fn is(sent: &Sent, kind: Kind) -> bool {
    Kind::of(&sent.payload) == Ok(kind)
}

/// Who sent a message: the adversary sends as `Anyone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    P(usize),
    S(usize),
    Anyone,
}

/// What the adversary does with a message on its way to one receiver.
pub enum Fate {
    Deliver,
    Drop,
    Rewrite(Vec<u8>),
    Twice,
    /// Delivered behind a copy of the adversary's making.
    After(Vec<u8>),
    /// Kept in `Net::held` until the test releases it.
    Hold,
}

pub struct PublisherNode {
    pub engine: publisher::Publisher,
    pub config: publisher::Config,
    pub events: Vec<publisher::Event>,
    pub rng: ChaCha20Rng,
    pub disk: Disk,
}

pub struct SubscriberNode {
    pub engine: subscriber::Subscriber,
    pub filters: Vec<String>,
    pub deliveries: Vec<Delivery>,
    pub events: Vec<subscriber::Event>,
    /// What is on its disk.
    pub records: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    /// What its windows are called.
    pub places: Places,
    pub online: bool,
    pub accept_rollback: bool,
    pub rng: ChaCha20Rng,
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub from: Who,
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

impl SubscriberNode {
    /// What has changed, on its disk.
    pub fn store(&mut self) {
        for change in self.engine.take_changes().spelled_out(&mut self.places).unwrap() {
            let key = (change.table, change.key);
            match change.value {
                Some(value) => self.records.insert(key, value.to_vec()),
                None => self.records.remove(&key),
            };
        }
    }

    /// Our counter on its disk.
    pub fn stored_counter(&self) -> u64 {
        let record = self.records.get(&(Table::Counter, Vec::new()));
        record.map_or(0, |value| u64::from_be_bytes(*value[1..].first_chunk().unwrap()))
    }

    pub fn restorable(&self) -> Vec<Record> {
        let record = |((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)| Record {
            table: *table,
            key: key.clone(),
            value: value.clone().into(),
        };
        self.records.iter().map(record).collect()
    }
}

type Filter = Box<dyn FnMut(&Sent, Who) -> Fate>;

/// The whole world of a test.
pub struct Net {
    pub now: Now,
    pub publishers: Vec<PublisherNode>,
    pub subscribers: Vec<SubscriberNode>,
    /// Messages on their way: receiver and message.
    pub queue: VecDeque<(Who, Sent)>,
    pub retained: BTreeMap<String, Sent>,
    /// Everything that was ever published.
    pub log: Vec<Sent>,
    pub adversary: Option<Filter>,
    /// What the adversary holds back.
    pub held: Vec<(Who, Sent)>,
    pub restarts: u64,
}

impl Net {
    pub fn new() -> Self {
        Self {
            now: Now { mono_ms: 1_000, unix_ms: 1_800_000_000_000 },
            publishers: Vec::new(),
            subscribers: Vec::new(),
            queue: VecDeque::new(),
            retained: BTreeMap::new(),
            log: Vec::new(),
            adversary: None,
            held: Vec::new(),
            restarts: 0,
        }
    }

    /// One publisher and one subscriber that have pinned each other.
    pub fn pair() -> Self {
        let (p, s) = (key(1), key(2));
        let mut net = Self::new();
        net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
        net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
        net
    }

    pub fn add_publisher(&mut self, identity: &IdentityKey, mode: TrustMode, peers: KnownPeers) -> usize {
        let index = self.publishers.len();
        let config = publisher::Config::new(name(&format!("pub{index}")));
        self.add_publisher_with(identity, mode, peers, config)
    }

    pub fn add_publisher_with(
        &mut self,
        identity: &IdentityKey,
        mode: TrustMode,
        peers: KnownPeers,
        config: publisher::Config,
    ) -> usize {
        let index = self.publishers.len();
        let mut rng = rng(1_000 + index as u64 + self.now.mono_ms);
        let trust = Trust::new(mode, identity.public().id(), peers, Vec::new());
        let engine = publisher::Publisher::new(identity.clone(), trust, config.clone(), self.now, &mut rng);
        self.publishers.push(PublisherNode { engine, config, events: Vec::new(), rng, disk: Disk::default() });
        self.connect_publisher(index);
        index
    }

    /// Replaces a publisher by a new process with the same identity and nothing in memory: kill -9 and restart.
    pub fn restart_publisher(&mut self, index: usize, identity: &IdentityKey) {
        let mode = self.publishers[index].engine.trust().mode();
        let peers = self.publishers[index].engine.trust().known().clone();
        // No two processes may draw the same run.
        self.restarts += 1;
        let mut rng = rng((self.restarts << 32) + self.now.mono_ms);
        let trust = Trust::new(mode, identity.public().id(), peers, Vec::new());
        let config = self.publishers[index].config.clone();
        let engine = publisher::Publisher::new(identity.clone(), trust, config.clone(), self.now, &mut rng);
        self.publishers[index] = PublisherNode { engine, config, events: Vec::new(), rng, disk: Disk::default() };
        self.connect_publisher(index);
    }

    pub fn connect_publisher(&mut self, index: usize) {
        let mut out = publisher::Output::default();
        self.publishers[index].engine.connected(self.now, &mut out);
        self.take_publisher(index, out);
    }

    pub fn add_subscriber(
        &mut self,
        identity: &IdentityKey,
        mode: TrustMode,
        peers: KnownPeers,
        filters: &[&str],
    ) -> usize {
        let index = self.subscribers.len();
        let trust = Trust::new(mode, identity.public().id(), peers, Vec::new());
        let config = subscriber::Config {
            name: name(&format!("sub{index}")),
            filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let engine = subscriber::Subscriber::new(identity.clone(), trust, config);
        self.subscribers.push(SubscriberNode {
            engine,
            filters: Vec::new(),
            deliveries: Vec::new(),
            events: Vec::new(),
            records: BTreeMap::new(),
            places: Places::default(),
            online: true,
            accept_rollback: false,
            rng: rng(2_000 + index as u64),
        });
        let filters = self.subscribers[index].engine.filters();
        self.subscribe(index, filters);
        index
    }

    /// kill -9 and a new process with what was on the disk; events and deliveries begin anew.
    pub fn crash_subscriber(&mut self, index: usize, identity: &IdentityKey) {
        let peers = self.subscribers[index].engine.trust().known().clone();
        self.crash_subscriber_with(index, identity, peers);
    }

    /// The same, with other known peers.
    pub fn crash_subscriber_with(&mut self, index: usize, identity: &IdentityKey, peers: KnownPeers) {
        self.start_subscriber(index, identity, peers, true);
    }

    /// The same, and the broker is not there yet.
    pub fn crash_subscriber_offline(&mut self, index: usize, identity: &IdentityKey) {
        let peers = self.subscribers[index].engine.trust().known().clone();
        self.start_subscriber(index, identity, peers, false);
    }

    fn start_subscriber(&mut self, index: usize, identity: &IdentityKey, peers: KnownPeers, online: bool) {
        self.restarts += 1;
        let mut rng = rng((self.restarts << 32) + self.now.mono_ms);
        let node = &mut self.subscribers[index];
        let trust = Trust::new(node.engine.trust().mode(), identity.public().id(), peers, Vec::new());
        let config = subscriber::Config {
            name: name(&format!("sub{index}")),
            filters: node.filters.iter().filter(|filter| !filter.starts_with("securemqtt/")).cloned().collect(),
            exclude: Vec::new(),
            accept_rollback: node.accept_rollback,
        };
        let stored = node.restorable();
        let engine = subscriber::Subscriber::restore(identity.clone(), trust, config, &stored, self.now, &mut rng);
        let (records, accept_rollback) = (std::mem::take(&mut node.records), node.accept_rollback);
        *node = SubscriberNode {
            engine: engine.unwrap(),
            filters: Vec::new(),
            deliveries: Vec::new(),
            events: Vec::new(),
            records,
            places: Places::default(),
            online,
            accept_rollback,
            rng,
        };
        node.store();
        if online {
            self.reconnect_subscriber(index);
        }
    }

    fn subscribe(&mut self, index: usize, filters: Vec<String>) {
        for filter in filters {
            for sent in self.retained.values().filter(|sent| filter_matches(&filter, &sent.topic)) {
                self.queue.push_back((Who::S(index), sent.clone()));
            }
            if !self.subscribers[index].filters.contains(&filter) {
                self.subscribers[index].filters.push(filter);
            }
        }
    }

    /// Publishes as anyone on the broker may.
    pub fn publish(&mut self, from: Who, message: Outgoing) {
        let sent = Sent { from, topic: message.topic, payload: message.payload, retain: message.retain };
        self.log.push(sent.clone());
        if sent.retain {
            if sent.payload.is_empty() {
                self.retained.remove(&sent.topic);
            } else {
                self.retained.insert(sent.topic.clone(), sent.clone());
            }
        }
        for (index, node) in self.publishers.iter().enumerate() {
            if node.engine.filters().iter().any(|filter| filter_matches(filter, &sent.topic)) {
                self.queue.push_back((Who::P(index), sent.clone()));
            }
        }
        for (index, node) in self.subscribers.iter().enumerate() {
            if node.online && node.filters.iter().any(|filter| filter_matches(filter, &sent.topic)) {
                self.queue.push_back((Who::S(index), sent.clone()));
            }
        }
    }

    pub fn inject(&mut self, topic: &str, payload: Vec<u8>) {
        self.publish(
            Who::Anyone,
            Outgoing { topic: topic.to_owned(), payload, qos: securemqtt_core::Qos::AtLeastOnce, retain: false },
        );
    }

    /// Sends one reading.
    pub fn send(&mut self, publisher: usize, topic: &str, reading: &[u8]) -> Vec<u8> {
        if self.publishers[publisher].config.spool_max > 0 {
            return self.send_kept(publisher, topic, reading);
        }
        let frame = self.publishers[publisher].engine.seal(topic, reading).unwrap().to_vec();
        let message = Outgoing {
            topic: topic.to_owned(),
            payload: frame.clone(),
            qos: securemqtt_core::Qos::AtLeastOnce,
            retain: false,
        };
        self.publish(Who::P(publisher), message);
        frame
    }

    /// Delivers everything that is on its way, and what follows from it, without moving the clock.
    pub fn settle(&mut self) {
        for _ in 0..2_000_000 {
            let Some((to, sent)) = self.queue.pop_front() else { return };
            let fate = self.adversary.as_mut().map_or(Fate::Deliver, |adversary| adversary(&sent, to));
            match fate {
                Fate::Deliver => self.deliver(to, &sent),
                Fate::Drop => {}
                Fate::Rewrite(payload) => self.deliver(to, &Sent { payload, ..sent }),
                Fate::Twice => {
                    self.deliver(to, &sent);
                    self.deliver(to, &sent);
                }
                Fate::After(payload) => {
                    self.deliver(to, &Sent { payload, ..sent.clone() });
                    self.deliver(to, &sent);
                }
                Fate::Hold => self.held.push((to, sent)),
            }
        }
        panic!("the network does not come to rest");
    }

    pub fn deliver(&mut self, to: Who, sent: &Sent) {
        match to {
            Who::P(index) => {
                let mut out = publisher::Output::default();
                let node = &mut self.publishers[index];
                node.engine.handle(&sent.topic, &sent.payload, self.now, &mut node.rng, &mut out);
                self.take_publisher(index, out);
            }
            Who::S(index) => {
                let mut out = subscriber::Output::default();
                let node = &mut self.subscribers[index];
                node.engine.handle(&sent.topic, &sent.payload, self.now, &mut node.rng, &mut out);
                self.take_subscriber(index, out);
            }
            Who::Anyone => {}
        }
    }

    pub fn take_publisher(&mut self, index: usize, out: publisher::Output) {
        let node = &mut self.publishers[index];
        // Durable first.
        node.disk.store(node.engine.take_changes());
        node.events.extend(out.events);
        let again: Vec<Outgoing> = out.resend.iter().flat_map(|resend| node.disk.frames_again(resend)).collect();
        for message in out.send.into_iter().chain(again) {
            self.publish(Who::P(index), message);
        }
    }

    pub fn take_subscriber(&mut self, index: usize, out: subscriber::Output) {
        let node = &mut self.subscribers[index];
        node.store();
        node.deliveries.extend(out.deliveries);
        node.events.extend(out.events);
        self.subscribe(index, out.subscribe);
        for message in out.send {
            self.publish(Who::S(index), message);
        }
    }

    /// Lets time pass in steps of 100 ms, delivering everything on the way.
    pub fn run(&mut self, ms: u64) {
        self.settle();
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            self.now.mono_ms += 100;
            self.now.unix_ms += 100;
            self.poll();
            self.settle();
        }
    }

    fn poll(&mut self) {
        for index in 0..self.publishers.len() {
            let mut out = publisher::Output::default();
            let node = &mut self.publishers[index];
            if node.engine.next_poll_ms() <= self.now.mono_ms {
                node.engine.poll(self.now, &mut node.rng, &mut out);
            }
            self.take_publisher(index, out);
        }
        for index in 0..self.subscribers.len() {
            let mut out = subscriber::Output::default();
            let node = &mut self.subscribers[index];
            if node.engine.next_poll_ms() <= self.now.mono_ms {
                node.engine.poll(self.now, &mut node.rng, &mut out);
            }
            self.take_subscriber(index, out);
        }
    }

    /// Sets what happens to messages on their way; everything is delivered again after `Net::calm`.
    pub fn adversary(&mut self, adversary: impl FnMut(&Sent, Who) -> Fate + 'static) {
        self.adversary = Some(Box::new(adversary));
    }

    /// Ends the adversary's work and delivers what it held back, the latest first.
    pub fn calm(&mut self) {
        self.adversary = None;
        let held: Vec<_> = self.held.drain(..).rev().collect();
        self.queue.extend(held);
        self.settle();
    }

    /// A subscriber's connection is back: it subscribes again, and gets what is retained.
    pub fn reconnect_subscriber(&mut self, index: usize) {
        let node = &mut self.subscribers[index];
        node.online = true;
        let filters = node.engine.filters();
        node.engine.connected(self.now, &mut node.rng);
        self.subscribe(index, filters);
        self.settle();
    }

    /// Seals a batch and publishes it.
    pub fn send_batch(&mut self, publisher: usize, topic: &str, readings: &[&[u8]]) -> Vec<u8> {
        let frame = self.publishers[publisher].engine.seal_batch(topic, readings).unwrap().to_vec();
        let qos = securemqtt_core::Qos::AtLeastOnce;
        let message = Outgoing { topic: topic.to_owned(), payload: frame.clone(), qos, retain: false };
        self.publish(Who::P(publisher), message);
        frame
    }

    pub fn rotate(&mut self, index: usize) {
        let mut out = publisher::Output::default();
        let node = &mut self.publishers[index];
        node.engine.rotate(self.now, &mut node.rng, &mut out);
        self.take_publisher(index, out);
    }

    pub fn revoke(&mut self, index: usize, peer: &str) {
        let mut out = publisher::Output::default();
        let node = &mut self.publishers[index];
        assert!(node.engine.revoke(&name(peer), self.now, &mut node.rng, &mut out), "{peer} is not known");
        self.take_publisher(index, out);
    }

    /// One more reading is sent and arrives: the session is in order.
    pub fn works(&mut self) {
        let reading = format!("works at {}", self.log.len());
        self.send(0, "t/works", reading.as_bytes());
        self.settle();
        assert_eq!(
            self.readings(0).last(),
            Some(&reading),
            "a reading does not arrive: {:?}",
            self.subscribers[0].events
        );
    }

    /// The last message of one kind that was published.
    pub fn last_of(&self, kind: Kind) -> Sent {
        self.all_of(kind).pop().unwrap()
    }

    /// Every message of one kind that was published, in order.
    pub fn all_of(&self, kind: Kind) -> Vec<Sent> {
        self.log.iter().filter(|sent| Kind::of(&sent.payload) == Ok(kind)).cloned().collect()
    }

    /// The readings that a subscriber has, as text.
    pub fn readings(&self, subscriber: usize) -> Vec<String> {
        let deliveries = &self.subscribers[subscriber].deliveries;
        deliveries.iter().map(|delivery| String::from_utf8(delivery.payload.to_vec()).unwrap()).collect()
    }

    pub fn publisher_id(&self, index: usize) -> PeerId {
        self.publishers[index].engine.id()
    }
}
