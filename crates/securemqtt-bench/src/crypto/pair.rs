//! A publisher's and a subscriber's engine in memory, each knowing the other.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::peers::{KnownPeers, Peer, PeerName};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::{Bytes, Now, publisher, subscriber};

use crate::outcome::Outcome;

/// A reading as telemetry has them.
pub const READING: &[u8; 110] =
    br#"{"patient_id": 101, "heart_rate": 83, "temperature": 36.7, "spo2": 98, "ts": "2027-01-15T08:00:00.00Z", "q":1}"#;
/// Where it is published.
pub const TOPIC: &str = "hospital/ward-7/bed-3/vitals";

/// The two engines, before their handshake.
pub struct Pair {
    publisher: publisher::Publisher,
    subscriber: subscriber::Subscriber,
    rng: ChaCha20Rng,
    now: Now,
    hello: (String, Vec<u8>),
}

impl Pair {
    /// New identities that have pinned each other, and the publisher's HELLO.
    ///
    /// # Errors
    /// If the names clash.
    pub fn new(seed: u64) -> Outcome<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (p, s) = (IdentityKey::generate(&mut rng), IdentityKey::generate(&mut rng));
        let now = Now { mono_ms: 1_000, unix_ms: 1_800_000_000_000 };
        let (bed, monitor): (PeerName, PeerName) = ("bed-3".parse()?, "monitor".parse()?);
        let trust = Trust::new(TrustMode::Strict, s.public().id(), pin(&bed, &p)?, Vec::new());
        let config = subscriber::Config {
            name: monitor.clone(),
            filters: vec!["#".to_owned()],
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let subscriber = subscriber::Subscriber::new(s.clone(), trust, config);
        let trust = Trust::new(TrustMode::Strict, p.public().id(), pin(&monitor, &s)?, Vec::new());
        let mut publisher = publisher::Publisher::new(p, trust, publisher::Config::new(bed), now, &mut rng);
        let mut out = publisher::Output::default();
        publisher.connected(now, &mut out);
        let hello = out.send.swap_remove(0);
        Ok(Self { publisher, subscriber, rng, now, hello: (hello.topic, hello.payload) })
    }

    /// HELLO, REQUEST, GRANT, ACK, KEYS with TICK, ACK. Returns the bytes of each message but the clearing of KEYS.
    pub fn shake_hands(&mut self) -> Vec<(&'static str, usize)> {
        let mut sizes = vec![("HELLO", self.hello.1.len())];
        let mut out = subscriber::Output::default();
        self.subscriber.handle(&self.hello.0, &self.hello.1, self.now, &mut self.rng, &mut out);
        for round in [["REQUEST", "GRANT", ""], ["ACK", "KEYS", "TICK"], ["ACK", "", ""]] {
            let mut answers = publisher::Output::default();
            for message in std::mem::take(&mut out.send) {
                sizes.push((round[0], message.payload.len()));
                self.publisher.handle(&message.topic, &message.payload, self.now, &mut self.rng, &mut answers);
            }
            for (answer, name) in answers.send.iter().filter(|answer| !answer.payload.is_empty()).zip(&round[1..]) {
                sizes.push((name, answer.payload.len()));
                self.subscriber.handle(&answer.topic, &answer.payload, self.now, &mut self.rng, &mut out);
            }
        }
        sizes
    }

    /// Whether both have the session.
    pub fn is_keyed(&self) -> bool {
        self.publisher.confirmed() == 1 && self.subscriber.keyed() == 1
    }

    /// Seals one reading.
    ///
    /// # Errors
    /// If the engine refuses.
    pub fn seal(&mut self) -> Result<Bytes, publisher::SealError> {
        self.publisher.seal(TOPIC, READING)
    }

    /// Seals many readings in one message.
    ///
    /// # Errors
    /// If the engine refuses.
    pub fn seal_batch(&mut self, readings: &[&[u8]]) -> Result<Bytes, publisher::SealError> {
        self.publisher.seal_batch(TOPIC, readings)
    }

    /// The tick that covers what was sealed, a second later: hello and tick, as the driver sends them.
    pub fn tick(&mut self) -> publisher::Output {
        self.now.mono_ms += 10_000;
        let mut out = publisher::Output::default();
        self.publisher.poll(self.now, &mut self.rng, &mut out);
        out
    }

    /// Gives a tick to the subscriber.
    pub fn take_tick(&mut self, tick: &publisher::Output) {
        let mut out = subscriber::Output::default();
        for message in &tick.send {
            self.subscriber.handle(&message.topic, &message.payload, self.now, &mut self.rng, &mut out);
        }
    }

    /// Opens a frame into `out`, whose deliveries are the caller's to clear.
    pub fn open(&mut self, frame: &[u8], out: &mut subscriber::Output) {
        self.subscriber.handle(TOPIC, frame, self.now, &mut self.rng, out);
    }
}

fn pin(name: &PeerName, key: &IdentityKey) -> Outcome<KnownPeers> {
    let mut known = KnownPeers::default();
    let peer = Peer { name: name.clone(), key: key.public().clone(), revoked: false, comment: None };
    known.add(peer).map_err(|conflict| conflict.to_string())?;
    Ok(known)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_pair_shakes_hands_and_a_reading_goes_through() {
        let mut pair = Pair::new(1).unwrap();
        assert!(!pair.is_keyed());
        let sizes = pair.shake_hands();
        assert!(pair.is_keyed(), "{sizes:?}");
        let mut out = subscriber::Output::default();
        let frame = pair.seal().unwrap();
        pair.open(&frame, &mut out);
        assert_eq!(out.deliveries.pop().unwrap().payload, READING.as_slice());
        let tick = pair.tick();
        assert_eq!(tick.send.len(), 2, "hello and tick");
        pair.take_tick(&tick);
        pair.open(&frame, &mut out);
        assert!(out.deliveries.is_empty(), "a duplicate");
    }
}
