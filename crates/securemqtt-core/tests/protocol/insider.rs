//! Peers that do not keep to the rules: a subscriber that speaks the handshake by hand, holds the stream's secret
//! and forges with it; and a publisher made of one's own choice of stream.

use securemqtt_core::Outgoing;
use securemqtt_core::Qos;
use securemqtt_core::handshake::{AwaitingGrant, Granted, Outcome, RequestInput, SessionKeys, request_mac_key, start};
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::kdf::GenerationSecret;
use securemqtt_core::primitives::{AeadKey, hkdf_expand, sha256};
use securemqtt_core::stream::StreamGrant;
use securemqtt_core::topic::Control;
use securemqtt_core::wire::{Ack, FrameHeader, Grant, Hello, Keys, Kind, RequestPayload, Status};

use crate::network::{Net, Who, name, rng};

/// A REQUEST written by hand, for the hello that a publisher shows at the moment.
pub fn request(net: &Net, publisher: PeerId, identity: &IdentityKey, sctr: u64, seed: u64) -> (Vec<u8>, AwaitingGrant) {
    let hello = net.retained[&Control::Hello.topic(publisher)].payload.clone();
    request_for(&hello, identity, sctr, seed)
}

/// A REQUEST written by hand, for a hello of one's choice.
pub fn request_for(hello_bytes: &[u8], identity: &IdentityKey, sctr: u64, seed: u64) -> (Vec<u8>, AwaitingGrant) {
    let hello = Hello::decode(hello_bytes).unwrap();
    let mac_key = request_mac_key(identity, &hello.key, identity.public());
    let payload = RequestPayload { sctr, name: name("by-hand"), credential: Vec::new() };
    let input = RequestInput { identity, hello: &hello, hello_bytes, mac_key: &mac_key, payload: &payload };
    let sent = start(&input, &mut rng(seed)).unwrap();
    (sent.request, sent.state)
}

/// A subscriber that has a session and uses it as it likes.
pub struct Insider {
    pub publisher: PeerId,
    pub session: SessionKeys,
    pub stream: StreamGrant,
}

impl Insider {
    /// Asks, and reads the GRANT. The confirm is the caller's business.
    pub fn join(net: &mut Net, publisher: usize, identity: &IdentityKey, sctr: u64) -> Self {
        match ask(net, publisher, identity, sctr) {
            Outcome::Granted(Granted { session, stream, .. }) => {
                Self { publisher: net.publisher_id(publisher), session, stream: *stream }
            }
            Outcome::Refused { status, .. } => panic!("refused: {status}"),
        }
    }

    pub fn ack(&self, idx: u32, sctr: u64) -> Vec<u8> {
        Ack { sid: self.session.sid, idx, sctr }.seal(&self.session.ka)
    }

    /// A frame that verifies under the stream's key, with a sequence number of one's choice.
    pub fn forge(&self, run: [u8; 5], topic: &str, seq: u32, reading: &[u8]) -> Vec<u8> {
        self.seal(Kind::Frame, run, topic, seq, reading)
    }

    pub fn seal(&self, kind: Kind, run: [u8; 5], topic: &str, seq: u32, body: &[u8]) -> Vec<u8> {
        let header = FrameHeader { kind, run, generation: self.stream.generation, seq };
        seal_as(self.publisher, self.stream.id, &self.stream.secret, header, topic, body)
    }
}

/// Seals as PROTOCOL.md says, from its formulas alone.
pub fn seal_as(
    publisher: PeerId,
    stream: u32,
    secret: &GenerationSecret,
    header: FrameHeader,
    topic: &str,
    body: &[u8],
) -> Vec<u8> {
    let topic_hash = sha256(&[topic.as_bytes()]);
    let stream = stream.to_be_bytes();
    let generation = [header.generation];
    let info: [&[u8]; 6] = [b"frame", publisher.as_bytes(), &stream, &header.run, &generation, &topic_hash];
    let key = AeadKey::new(&hkdf_expand(secret.expose(), &info));
    let mut frame = Vec::new();
    header.encode_into(&mut frame);
    let start = frame.len();
    let aad = [&frame, topic.as_bytes()].concat();
    frame.extend_from_slice(body);
    key.seal(u64::from(header.seq), &aad, &mut frame, start).unwrap();
    frame
}

/// Sends a REQUEST by hand and reads what comes back.
pub fn ask(net: &mut Net, publisher: usize, identity: &IdentityKey, sctr: u64) -> Outcome {
    let id = net.publisher_id(publisher);
    let (request, state) = request(net, id, identity, sctr, 900 + sctr);
    net.inject(&Control::In.topic(id), request);
    net.settle();
    let topic = Control::To(identity.public().id()).topic(id);
    let mut answers = net.log.iter().rev().filter(|sent| sent.topic == topic);
    let grant = answers.find(|sent| Grant::decode(&sent.payload).is_ok_and(|grant| grant.rid == state.rid()));
    state.read_grant(identity, &grant.unwrap().payload).unwrap()
}

/// What a publisher says to a REQUEST that it refuses.
pub fn refusal(net: &mut Net, publisher: usize, identity: &IdentityKey, sctr: u64) -> Status {
    match ask(net, publisher, identity, sctr) {
        Outcome::Refused { status, .. } => status,
        Outcome::Granted(_) => panic!("granted"),
    }
}

/// The entries of a KEYS message.
pub fn keys(payload: &[u8]) -> Keys {
    Keys::decode(payload).unwrap()
}

/// A retained message from anyone.
pub fn retain(net: &mut Net, topic: &str, payload: Vec<u8>) {
    let message = Outgoing { topic: topic.to_owned(), payload, qos: Qos::AtLeastOnce, retain: true };
    net.publish(Who::Anyone, message);
}
