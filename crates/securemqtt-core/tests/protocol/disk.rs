//! A publisher's disk, and what it does with its spool: restarts, crashes, frames that go out again.

use std::collections::BTreeMap;

use securemqtt_core::identity::IdentityKey;
use securemqtt_core::publisher::{self, Resend, SpooledFrame, frames};
use securemqtt_core::record::{Change, Record, Table};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::wire::topic_hash;
use securemqtt_core::{Outgoing, Qos};

use crate::network::{Net, PublisherNode, Who, key, known, rng};

/// Records, as the last transaction left them.
#[derive(Clone, Default)]
pub struct Disk(pub BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Disk {
    pub fn store(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let key = (change.table, change.key);
            match change.value {
                Some(value) => drop(self.0.insert(key, value.to_vec())),
                None => drop(self.0.remove(&key)),
            }
        }
    }

    pub fn records(&self) -> Vec<Record> {
        let record = |((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)| Record {
            table: *table,
            key: key.clone(),
            value: value.clone().into(),
        };
        self.0.iter().map(record).collect()
    }

    /// How many records a table has.
    pub fn count(&self, table: Table) -> usize {
        self.0.keys().filter(|(of, _)| *of == table).count()
    }

    pub fn segments(&self) -> Vec<(u64, Vec<u8>)> {
        let segments = self.0.iter().filter(|((table, _), _)| *table == Table::Segment);
        segments
            .map(|((_, key), value)| (u64::from_be_bytes(key.as_slice().try_into().unwrap()), value.clone()))
            .collect()
    }

    pub fn frames_again(&self, resend: &Resend) -> Vec<Outgoing> {
        let Some(bytes) = self.0.get(&(Table::Segment, resend.segment.to_be_bytes().to_vec())) else {
            return Vec::new();
        };
        let wanted = |frame: &SpooledFrame<'_>| {
            frame.run == resend.run
                && topic_hash(frame.topic) == resend.topic
                && frame.from < resend.to
                && resend.from < frame.to
        };
        frames(bytes).unwrap().into_iter().filter(wanted).map(|frame| outgoing(&frame)).collect()
    }
}

fn outgoing(frame: &SpooledFrame<'_>) -> Outgoing {
    let (topic, payload) = (frame.topic.to_owned(), frame.frame.to_vec());
    Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: false }
}

impl Net {
    /// One publisher that keeps what it seals, and one subscriber; they have pinned each other and have a session.
    pub fn keeping() -> (Self, IdentityKey, IdentityKey) {
        Self::keeping_with(1 << 20)
    }

    pub fn keeping_with(spool_max: usize) -> (Self, IdentityKey, IdentityKey) {
        let (p, s) = (key(1), key(2));
        let mut net = Self::new();
        let mut config = publisher::Config::new("pub".parse().unwrap());
        config.spool_max = spool_max;
        net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s)]), config);
        net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
        net.run(200);
        assert_eq!(net.publishers[0].engine.confirmed(), 1);
        (net, p, s)
    }

    /// Seals and stores a reading, and publishes nothing: a crash between the two.
    pub fn keep(&mut self, index: usize, topic: &str, reading: &[u8]) -> publisher::Spooled {
        let node = &mut self.publishers[index];
        let spooled = node.engine.spool(topic, &[reading], Qos::AtLeastOnce, false).unwrap();
        node.disk.store(node.engine.take_changes());
        spooled
    }

    /// Seals, stores and publishes a reading; the broker acknowledges it.
    pub fn send_kept(&mut self, index: usize, topic: &str, reading: &[u8]) -> Vec<u8> {
        let run = self.publishers[index].engine.run();
        let spooled = self.keep(index, topic, reading);
        let (topic, payload) = (topic.to_owned(), spooled.frame.to_vec());
        self.publishers[index].engine.handed_over(spooled.segment, run, &topic, spooled.to);
        self.publish(Who::P(index), Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: false });
        self.publishers[index].engine.acknowledged(spooled.segment, 1);
        spooled.frame.to_vec()
    }

    /// kill -9 and a new process with what was on the disk.
    pub fn crash_publisher(&mut self, index: usize, identity: &IdentityKey) {
        let disk = self.publishers[index].disk.clone();
        self.start_publisher(index, identity, disk);
    }

    /// A new process with this disk, connected; it sends what the broker had not acknowledged.
    pub fn start_publisher(&mut self, index: usize, identity: &IdentityKey, disk: Disk) {
        let node = self.start_offline(index, identity, disk);
        self.publishers[index] = node;
        self.connect_publisher(index);
        self.send_the_backlog(index);
    }

    /// A new process with this disk that is not connected yet.
    pub fn start_offline(&mut self, index: usize, identity: &IdentityKey, disk: Disk) -> PublisherNode {
        let peers = self.publishers[index].engine.trust().known().clone();
        let config = self.publishers[index].config.clone();
        self.restarts += 1;
        let mut rng = rng((self.restarts << 32) + self.now.mono_ms);
        let trust = Trust::new(TrustMode::Strict, identity.public().id(), peers, Vec::new());
        let records = disk.records();
        let mut engine =
            publisher::Publisher::restore(identity.clone(), trust, config.clone(), &records, self.now, &mut rng)
                .unwrap();
        for (number, bytes) in disk.segments() {
            engine.restore_segment(&number.to_be_bytes(), &bytes).unwrap();
        }
        let mut out = publisher::Output::default();
        engine.begin(self.now, &mut rng, &mut out);
        let mut node = PublisherNode { engine, config, events: out.events, rng, disk };
        node.disk.store(node.engine.take_changes());
        node
    }

    fn send_the_backlog(&mut self, index: usize) {
        let Some(first) = self.publishers[index].engine.first_unacknowledged() else { return };
        for (number, bytes) in self.publishers[index].disk.segments() {
            for frame in frames(&bytes).unwrap().iter().filter(|_| number >= first) {
                self.publishers[index].engine.handed_over(number, frame.run, frame.topic, frame.to);
                self.publish(Who::P(index), outgoing(frame));
                self.publishers[index].engine.acknowledged(number, 1);
            }
        }
        let mut out = publisher::Output::default();
        self.publishers[index].engine.all_handed_over(|| self.now, &mut out);
        self.take_publisher(index, out);
    }

    /// A clean end of a publisher.
    pub fn finish_publisher(&mut self, index: usize) {
        let mut out = publisher::Output::default();
        self.publishers[index].engine.finish(self.now, &mut out);
        self.take_publisher(index, out);
        self.settle();
    }
}
