//! The strongest attacker on the path: it runs both halves of the protocol itself, with a key of its own and the names of
//! the two that it stands between. What it reads on one side it seals again for the other.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::publisher::{self, Publisher};
use securemqtt_core::subscriber::{self, Subscriber};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::{Now, Outgoing, Qos};

use crate::broker::Broker;
use crate::eavesdropper::Heard;
use crate::mitm::{Forwarded, From, Mitm};
use crate::parties::Party;

/// Between the publisher's broker and the subscriber's until it is dropped.
pub(crate) struct Attacker {
    /// The fingerprint of its key.
    pub(crate) fingerprint: String,
    read: Arc<Mutex<Vec<Vec<u8>>>>,
    _mitm: Mitm,
}

impl Attacker {
    /// It calls itself by their names.
    pub(crate) fn between(publisher: (&Party, &Broker), subscriber: (&Party, &Broker)) -> Self {
        let key = IdentityKey::generate(&mut UnwrapErr(SysRng));
        let fingerprint = key.public().fingerprint().to_string();
        let read = Arc::default();
        let mut halves = Halves::new(&key, &publisher.0.name, &subscriber.0.name, Arc::clone(&read));
        let mitm = Mitm::between(publisher.1, subscriber.1, move |from, heard| halves.take(from, heard));
        Self { fingerprint, read, _mitm: mitm }
    }

    /// The readings that it could decrypt.
    pub(crate) fn read(&self) -> Vec<Vec<u8>> {
        self.read.lock().unwrap().clone()
    }
}

/// A false subscriber on the publisher's side (left), a false publisher on the subscriber's side.
struct Halves {
    start: Instant,
    reader: Subscriber,
    sealer: Publisher,
    is_connected: bool,
    read: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Halves {
    fn new(key: &IdentityKey, publisher: &str, subscriber: &str, read: Arc<Mutex<Vec<Vec<u8>>>>) -> Self {
        let trust = || Trust::new(TrustMode::AcceptNew, key.public().id(), KnownPeers::default(), Vec::new());
        let wanted = subscriber::Config {
            name: subscriber.parse().unwrap(),
            filters: vec!["telemetry/#".to_owned()],
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let start = Instant::now();
        let config = publisher::Config::new(publisher.parse().unwrap());
        let mut rng = UnwrapErr(SysRng);
        Self {
            start,
            reader: Subscriber::new(key.clone(), trust(), wanted),
            sealer: Publisher::new(key.clone(), trust(), config, now(start), &mut rng),
            is_connected: false,
            read,
        }
    }

    /// Nothing passes: each side hears the attacker only.
    fn take(&mut self, from: From, heard: &Heard) -> Vec<Forwarded> {
        let (time, mut rng) = (now(self.start), UnwrapErr(SysRng));
        let (mut reads, mut seals) = (subscriber::Output::default(), publisher::Output::default());
        if !self.is_connected {
            self.is_connected = true;
            self.sealer.connected(time, &mut seals);
        }
        match from {
            From::Left => self.reader.handle(&heard.topic, &heard.payload, time, &mut rng, &mut reads),
            From::Right => self.sealer.handle(&heard.topic, &heard.payload, time, &mut rng, &mut seals),
        }
        self.reader.poll(time, &mut rng, &mut reads);
        for delivery in reads.deliveries {
            let frame = self.sealer.seal(&delivery.topic, &delivery.payload).unwrap();
            seals.send.push(Outgoing {
                topic: delivery.topic.to_string(),
                payload: frame.to_vec(),
                qos: Qos::AtLeastOnce,
                retain: false,
            });
            self.read.lock().unwrap().push(delivery.payload.to_vec());
        }
        let to_left = reads.send.into_iter().map(|message| (From::Left, message));
        let to_right = seals.send.into_iter().map(|message| (From::Right, message));
        let both = to_left.chain(to_right);
        both.map(|(to, message)| Forwarded { message: as_heard(message), back: to == from }).collect()
    }
}

fn now(start: Instant) -> Now {
    let mono_ms = u64::try_from(start.elapsed().as_millis()).unwrap();
    Now { mono_ms, unix_ms: 1_700_000_000_000 + mono_ms }
}

fn as_heard(message: Outgoing) -> Heard {
    let Outgoing { topic, payload, retain, .. } = message;
    Heard { topic, payload, retain }
}
