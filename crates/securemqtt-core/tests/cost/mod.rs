//! The two engines after their handshake, in the steady state: every key is expanded, every buffer has grown.

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

/// A publisher and a subscriber that know each other.
pub(crate) struct Pair {
    publisher: publisher::Publisher,
    subscriber: subscriber::Subscriber,
    rng: ChaCha20Rng,
    out: subscriber::Output,
}

impl Pair {
    /// Two engines in the steady state, and so many frames that the subscriber has not had.
    pub(crate) fn warm(frames: usize) -> (Self, Vec<Vec<u8>>) {
        let mut pair = Self::keyed();
        for _ in 0..WARM {
            let frame = pair.seal();
            assert!(pair.open(&frame));
        }
        // Each in a buffer of its own, as they come.
        let frames = (0..frames).map(|_| pair.seal().to_vec()).collect();
        (pair, frames)
    }

    fn keyed() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (p, s) = (IdentityKey::generate(&mut rng), IdentityKey::generate(&mut rng));
        let names = ["bed-3", "monitor"].map(|name| name.parse::<PeerName>().unwrap());
        let [bed, monitor] = names.clone();
        let config = subscriber::Config {
            name: monitor.clone(),
            filters: vec!["#".to_owned()],
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let subscriber = subscriber::Subscriber::new(s.clone(), pinned(&s, &bed, &p), config);
        let config = publisher::Config::new(bed);
        let publisher = publisher::Publisher::new(p.clone(), pinned(&p, &monitor, &s), config, NOW, &mut rng);
        let mut pair = Self { publisher, subscriber, rng, out: subscriber::Output::default() };
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        let mut answers = publisher::Output::default();
        self.publisher.connected(NOW, &mut answers);
        while !answers.send.is_empty() {
            for message in std::mem::take(&mut answers.send) {
                self.subscriber.handle(&message.topic, &message.payload, NOW, &mut self.rng, &mut self.out);
            }
            for message in std::mem::take(&mut self.out.send) {
                self.publisher.handle(&message.topic, &message.payload, NOW, &mut self.rng, &mut answers);
            }
        }
        assert_eq!((self.publisher.confirmed(), self.subscriber.keyed()), (1, 1));
    }

    /// Seals one reading.
    pub(crate) fn seal(&mut self) -> Bytes {
        self.publisher.seal(TOPIC, READING).unwrap()
    }

    /// Opens a frame. Whether it brought a reading, which is dropped: the list of readings is used again.
    pub(crate) fn open(&mut self, frame: &[u8]) -> bool {
        self.subscriber.handle(TOPIC, frame, NOW, &mut self.rng, &mut self.out);
        let is_open = self.out.deliveries.last().is_some_and(|delivery| delivery.payload.len() == READING.len());
        self.out.deliveries.clear();
        is_open
    }
}

fn pinned(own: &IdentityKey, name: &PeerName, key: &IdentityKey) -> Trust {
    let mut known = KnownPeers::default();
    known.add(Peer { name: name.clone(), key: key.public().clone(), revoked: false, comment: None }).unwrap();
    Trust::new(TrustMode::Strict, own.public().id(), known, Vec::new())
}
