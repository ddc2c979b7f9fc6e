//! The publisher's half: REQUEST in, GRANT out.

use p256::elliptic_curve::Generate as _;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;

use super::symmetric::SymmetricState;
use super::{HandshakeError, SessionKeys};
use crate::identity::{IdentityKey, IdentityPublic};
use crate::kdf::{self, RequestMacKey};
use crate::primitives::{diffie_hellman, hmac16, mac_eq, parse_point, point_bytes, public_key};
use crate::stream::StreamGrant;
use crate::wire::{Grant, GrantPayload, Hello, Request, RequestPayload, Status};

/// A REQUEST that verified: the peer holds the key that it shows, and answered this hello.
pub struct VerifiedRequest {
    symmetric: SymmetricState,
    e: PublicKey,
    /// The key of its REQUESTs' mac, which is costly to make.
    pub(crate) mac_key: RequestMacKey,
    /// Who asks.
    pub peer: IdentityPublic,
    /// Its counter, name and credential.
    pub payload: RequestPayload,
}

/// A GRANT to send, and the session that waits for its confirmation.
#[derive(Debug)]
pub struct Accepted {
    /// The message.
    pub grant: Vec<u8>,
    /// The session, not confirmed yet.
    pub session: SessionKeys,
}

/// The key of the REQUEST mac between two identities, the same on both sides: one Diffie-Hellman, to be cached.
pub fn request_mac_key(own: &IdentityKey, publisher: &IdentityPublic, subscriber: &IdentityPublic) -> RequestMacKey {
    let peer = if own.public() == publisher { subscriber } else { publisher };
    kdf::request_mac_key(&own.diffie_hellman(peer.point()), publisher, subscriber)
}

/// Whether the mac of a REQUEST is that of a pinned peer: no Diffie-Hellman is spent.
pub(crate) fn mac_verifies(request: &Request<'_>, mac_key: &RequestMacKey) -> bool {
    mac_eq(&hmac16(mac_key.expose(), &[request.maced]), &request.mac)
}

/// Reads a REQUEST for the hello whose bytes are given.
///
/// # Errors
/// [`HandshakeError`] when it does not authenticate, names another identity than it proves, or reflects our own.
pub fn read_request(
    identity: &IdentityKey,
    hello_bytes: &[u8],
    request: &Request<'_>,
) -> Result<VerifiedRequest, HandshakeError> {
    let e = parse_point(request.e)?;
    let mut symmetric = SymmetricState::new(request.header, &Hello::hash(hello_bytes), identity.public());
    symmetric.mix_hash(&[request.e]);
    let es = symmetric.mix_key(&identity.diffie_hellman(&e));
    let key = symmetric.decrypt_and_hash(&es, request.sealed_key)?;
    let peer = IdentityPublic::from_bytes(&key)?;
    if peer.id() != request.subscriber {
        return Err(HandshakeError::WrongIdentity);
    }
    if peer == *identity.public() {
        return Err(HandshakeError::OwnKey);
    }
    let dh = identity.diffie_hellman(peer.point());
    let mac_key = kdf::request_mac_key(&dh, identity.public(), &peer);
    if !mac_verifies(request, &mac_key) {
        return Err(HandshakeError::NotAuthentic);
    }
    let ss = symmetric.mix_key(&dh);
    let payload = RequestPayload::decode(&symmetric.decrypt_and_hash(&ss, request.sealed_payload)?)?;
    Ok(VerifiedRequest { symmetric, e, mac_key, peer, payload })
}

impl VerifiedRequest {
    /// Grants the stream. `sctr` is the highest counter seen of this subscriber, this request's included.
    ///
    /// # Errors
    /// Never for a stream of fixed size; the type is the AEAD's.
    pub fn grant<R: CryptoRng + ?Sized>(
        self,
        stream: StreamGrant,
        sctr: u64,
        rng: &mut R,
    ) -> Result<Accepted, HandshakeError> {
        let payload = GrantPayload::Granted { sctr, stream: Box::new(stream) };
        let (grant, symmetric) = self.answer(&payload, rng)?;
        Ok(Accepted { grant, session: symmetric.split() })
    }

    /// Refuses, with the reason; authenticated like a grant.
    ///
    /// # Errors
    /// Never for a payload of fixed size; the type is the AEAD's.
    pub fn refuse<R: CryptoRng + ?Sized>(
        self,
        status: Status,
        sctr: u64,
        rng: &mut R,
    ) -> Result<Vec<u8>, HandshakeError> {
        self.answer(&GrantPayload::Refused { sctr, status }, rng).map(|(grant, _)| grant)
    }

    /// Writes a GRANT: `e, ee, se, payload`.
    fn answer<R: CryptoRng + ?Sized>(
        mut self,
        payload: &GrantPayload,
        rng: &mut R,
    ) -> Result<(Vec<u8>, SymmetricState), HandshakeError> {
        let mut grant = Grant::encode_header(self.symmetric.rid());
        self.symmetric.mix_hash(&[&grant]);
        let ephemeral = SecretKey::generate_from_rng(rng);
        let e = point_bytes(&public_key(&ephemeral));
        self.symmetric.mix_hash(&[&e]);
        grant.extend_from_slice(&e);
        self.symmetric.mix_key(&diffie_hellman(&ephemeral, &self.e));
        let se = self.symmetric.mix_key(&diffie_hellman(&ephemeral, self.peer.point()));
        self.symmetric.encrypt_and_hash(&se, &payload.encode(), &mut grant)?;
        Ok((grant, self.symmetric))
    }
}

impl std::fmt::Debug for VerifiedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedRequest({}, [secret])", self.peer.fingerprint())
    }
}
