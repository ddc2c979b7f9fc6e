//! The subscriber's half: REQUEST out, GRANT in.

use p256::SecretKey;
use p256::elliptic_curve::Generate as _;
use rand_core::CryptoRng;

use super::symmetric::SymmetricState;
use super::{HandshakeError, SessionKeys};
use crate::identity::{IdentityKey, IdentityPublic};
use crate::kdf::RequestMacKey;
use crate::primitives::{diffie_hellman, hmac16, parse_point, point_bytes, public_key};
use crate::stream::StreamGrant;
use crate::wire::{Grant, GrantPayload, Hello, Request, RequestPayload, SUITE_1, Status};

/// What a REQUEST is made of.
#[derive(Clone, Copy, Debug)]
pub struct RequestInput<'a> {
    /// The subscriber's identity.
    pub identity: &'a IdentityKey,
    /// The hello that it answers, decoded.
    pub hello: &'a Hello,
    /// The same hello as received: the transcript hashes the wire bytes.
    pub hello_bytes: &'a [u8],
    /// The key of the REQUEST's mac.
    pub mac_key: &'a RequestMacKey,
    /// The subscriber's counter, name and credential.
    pub payload: &'a RequestPayload,
}

/// A REQUEST to send, and the state that waits for its GRANT.
#[derive(Debug)]
pub struct Sent {
    /// The message.
    pub request: Vec<u8>,
    /// The state.
    pub state: AwaitingGrant,
}

/// A REQUEST is out. A GRANT that fails leaves this usable for the genuine one.
pub struct AwaitingGrant {
    symmetric: SymmetricState,
    ephemeral: SecretKey,
    publisher: IdentityPublic,
    rid: [u8; 8],
}

/// A GRANT that verified.
#[derive(Debug)]
pub struct Granted {
    /// The session.
    pub session: SessionKeys,
    /// The publisher's memory of our counter.
    pub sctr: u64,
    /// The stream.
    pub stream: Box<StreamGrant>,
}

/// What a GRANT that verified says.
#[derive(Debug)]
pub enum Outcome {
    /// We are in.
    Granted(Granted),
    /// We are not, and this is why.
    Refused {
        /// The publisher's memory of our counter.
        sctr: u64,
        /// Why.
        status: Status,
    },
}

/// Writes a REQUEST: `e, es, s, ss, payload`, then the mac.
///
/// # Errors
/// [`HandshakeError`] when the hello carries our own key or no suite of ours.
pub fn start<R: CryptoRng + ?Sized>(input: &RequestInput<'_>, rng: &mut R) -> Result<Sent, HandshakeError> {
    let publisher = &input.hello.key;
    if publisher == input.identity.public() {
        return Err(HandshakeError::OwnKey);
    }
    if !input.hello.suites.contains(&SUITE_1) {
        return Err(HandshakeError::NoCommonSuite);
    }
    let mut request = Request::encode_header(input.identity.public().id(), Hello::short_hash(input.hello_bytes));
    let mut symmetric = SymmetricState::new(&request, &Hello::hash(input.hello_bytes), publisher);

    let ephemeral = SecretKey::generate_from_rng(rng);
    let e = point_bytes(&public_key(&ephemeral));
    symmetric.mix_hash(&[&e]);
    request.extend_from_slice(&e);

    let es = symmetric.mix_key(&diffie_hellman(&ephemeral, publisher.point()));
    symmetric.encrypt_and_hash(&es, input.identity.public().as_bytes(), &mut request)?;
    let ss = symmetric.mix_key(&input.identity.diffie_hellman(publisher.point()));
    symmetric.encrypt_and_hash(&ss, &input.payload.encode(), &mut request)?;

    let mac = hmac16(input.mac_key.expose(), &[&request]);
    request.extend_from_slice(&mac);
    let rid = symmetric.rid();
    let state = AwaitingGrant { symmetric, ephemeral, publisher: publisher.clone(), rid };
    Ok(Sent { request, state })
}

impl AwaitingGrant {
    /// The REQUEST's id, which its GRANT repeats.
    pub fn rid(&self) -> [u8; 8] {
        self.rid
    }

    /// The publisher that was asked.
    pub fn publisher(&self) -> &IdentityPublic {
        &self.publisher
    }

    /// Reads a GRANT: `e, ee, se, payload`, then the split.
    ///
    /// # Errors
    /// [`HandshakeError`]; the state is as before, and the genuine GRANT still opens.
    pub fn read_grant(&self, identity: &IdentityKey, message: &[u8]) -> Result<Outcome, HandshakeError> {
        let grant = Grant::decode(message)?;
        if grant.rid != self.rid {
            return Err(HandshakeError::NotAuthentic);
        }
        let e = parse_point(grant.e)?;
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_hash(&[grant.header]);
        symmetric.mix_hash(&[grant.e]);
        symmetric.mix_key(&diffie_hellman(&self.ephemeral, &e));
        let se = symmetric.mix_key(&identity.diffie_hellman(&e));
        let plain = symmetric.decrypt_and_hash(&se, grant.sealed)?;
        Ok(match GrantPayload::decode(&plain)? {
            GrantPayload::Granted { sctr, stream } => {
                Outcome::Granted(Granted { session: symmetric.split(), sctr, stream })
            }
            GrantPayload::Refused { sctr, status } => Outcome::Refused { sctr, status },
        })
    }
}

impl std::fmt::Debug for AwaitingGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AwaitingGrant({}, [secret])", self.publisher.fingerprint())
    }
}
