//! The engines after their handshakes, in the steady state: every key is expanded, every buffer has grown.

use std::hint::black_box;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::peers::{KnownPeers, Peer, PeerName};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::{Now, publisher, subscriber};

/// A reading as telemetry has them: 110 bytes.
pub(crate) const READING: &[u8; 110] =
    br#"{"patient_id": 101, "heart_rate": 83, "temperature": 36.7, "spo2": 98, "ts": "2027-01-15T08:00:00.00Z", "q":1}"#;
/// Where it is published.
pub(crate) const TOPIC: &str = "hospital/ward-7/bed-3/vitals";
/// Frames that a ledger takes before it has the room for as many again without growing.
const WARM: usize = 520;
const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_800_000_000_000 };

/// A subscriber and its publishers, which know it.
pub(crate) struct Pair {
    publishers: Vec<publisher::Publisher>,
    subscriber: subscriber::Subscriber,
    rng: ChaCha20Rng,
    out: subscriber::Output,
}

impl Pair {
    /// Engines in the steady state, with so many publishers, and so many frames of theirs in turn that the subscriber has not had.
    pub(crate) fn warm(publishers: usize, frames: usize) -> (Self, Vec<Vec<u8>>) {
        let mut pair = Self::keyed(publishers);
        for n in 0..publishers * WARM {
            let frame = pair.seal_by(n);
            assert!(pair.open(&frame));
        }
        // Each in a buffer of its own, as they come.
        let frames = (0..frames).map(|n| pair.seal_by(n).to_vec()).collect();
        (pair, frames)
    }

    fn keyed(publishers: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let own = IdentityKey::generate(&mut rng);
        let name = |name: &str| name.parse::<PeerName>().unwrap();
        let monitor = name("monitor");
        let beds: Vec<_> =
            (0..publishers).map(|n| (name(&format!("bed-{n}")), IdentityKey::generate(&mut rng))).collect();
        let config = subscriber::Config {
            name: monitor.clone(),
            filters: vec!["#".to_owned()],
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let subscriber = subscriber::Subscriber::new(own.clone(), pinned(&own, &beds), config);
        let known = [(monitor, own)];
        let publishers = beds.into_iter().map(|(name, key)| {
            let (trust, config) = (pinned(&key, &known), publisher::Config::new(name));
            publisher::Publisher::new(key, trust, config, NOW, &mut rng)
        });
        let publishers = publishers.collect();
        let mut pair = Self { publishers, subscriber, rng, out: subscriber::Output::default() };
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        for publisher in &mut self.publishers {
            let mut answers = publisher::Output::default();
            publisher.connected(NOW, &mut answers);
            while !answers.send.is_empty() {
                for message in std::mem::take(&mut answers.send) {
                    self.subscriber.handle(&message.topic, &message.payload, NOW, &mut self.rng, &mut self.out);
                }
                for message in std::mem::take(&mut self.out.send) {
                    publisher.handle(&message.topic, &message.payload, NOW, &mut self.rng, &mut answers);
                }
            }
            assert_eq!(publisher.confirmed(), 1);
        }
        assert_eq!(self.subscriber.keyed(), self.publishers.len());
    }

    /// Seals one reading.
    pub(crate) fn seal(&mut self) -> Bytes {
        self.seal_by(0)
    }

    /// The publishers seal in turn: a reading by the `n`th.
    fn seal_by(&mut self, n: usize) -> Bytes {
        let at = n % self.publishers.len();
        self.publishers[at].seal(TOPIC, black_box(READING.as_slice())).unwrap()
    }

    /// Opens a frame. Whether it brought a reading, which is dropped: the list of readings is used again.
    pub(crate) fn open(&mut self, frame: &[u8]) -> bool {
        self.subscriber.handle(TOPIC, frame, NOW, &mut self.rng, &mut self.out);
        let is_open = self.out.deliveries.last().is_some_and(|delivery| delivery.payload.len() == READING.len());
        self.out.deliveries.clear();
        is_open
    }
}

fn pinned(own: &IdentityKey, others: &[(PeerName, IdentityKey)]) -> Trust {
    let mut known = KnownPeers::default();
    for (name, key) in others {
        known.add(Peer { name: name.clone(), key: key.public().clone(), revoked: false, comment: None }).unwrap();
    }
    Trust::new(TrustMode::Strict, own.public().id(), known, Vec::new())
}
