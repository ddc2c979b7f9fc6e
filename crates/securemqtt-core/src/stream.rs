//! A stream: what a publisher shares with all of its subscribers. A one-way ratchet of generations, and the
//! key that verifies the publisher's signatures, which subscribers cannot make.

use std::fmt;

use p256::PublicKey;
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::identity::PeerId;
use crate::kdf::{self, GenerationSecret, TrafficContext};
use crate::primitives::{NotAuthentic, POINT_LEN, SIGNATURE_LEN, Verifier, parse_point, point_bytes, sign};
use crate::wire::{Reader, WireError};

const FLAG_SIGNED_FRAMES: u8 = 1;
/// The last generation; a new stream follows.
pub const LAST_GENERATION: u8 = u8::MAX;
const TICK_LABEL: &[u8] = b"securemqtt/1 tick";
const FRAME_LABEL: &[u8] = b"securemqtt/1 frame";

/// What a GRANT or an entry brings: enough to open frames and verify signatures, never to sign.
///
/// ```text
///  flags 1 | stream id 4 | generation 1 | generation secret 32 | verification key 33      71 bytes
/// ```
/// `flags`: bit 0 makes a signature on every frame mandatory; others are zero.
#[derive(Clone)]
pub struct StreamGrant {
    /// The stream's id.
    pub id: u32,
    /// Whether every frame carries a signature.
    pub signed_frames: bool,
    /// The generation of the secret.
    pub generation: u8,
    /// The secret of that generation.
    pub secret: GenerationSecret,
    /// Verifies ticks, and frames where they are signed.
    pub verifier: StreamVerifier,
}

impl StreamGrant {
    /// Bytes of the encoding.
    pub const LEN: usize = 1 + 4 + 1 + 32 + POINT_LEN;

    /// The 71 bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(Self::LEN));
        out.push(if self.signed_frames { FLAG_SIGNED_FRAMES } else { 0 });
        out.extend_from_slice(&self.id.to_be_bytes());
        out.push(self.generation);
        out.extend_from_slice(self.secret.expose());
        out.extend_from_slice(&self.verifier.bytes);
        out
    }

    /// Reads the 71 bytes.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8()?;
        if flags & !FLAG_SIGNED_FRAMES != 0 {
            return Err(WireError::Range);
        }
        let grant = Self {
            signed_frames: flags & FLAG_SIGNED_FRAMES != 0,
            id: reader.u32()?,
            generation: reader.u8()?,
            secret: GenerationSecret::new(Zeroizing::new(reader.array()?)),
            verifier: StreamVerifier::from_bytes(&reader.array()?)?,
        };
        reader.finish()?;
        Ok(grant)
    }
}

impl fmt::Debug for StreamGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamGrant({}, generation {}, [secret])", self.id, self.generation)
    }
}

/// The publisher's end of a stream: the secret of the current generation and the signing key.
pub struct StreamSecret {
    publisher: PeerId,
    id: u32,
    signed_frames: bool,
    generation: u8,
    secret: GenerationSecret,
    signing: SigningKey,
}

impl StreamSecret {
    /// A new stream with a random id, secret and signing key.
    pub fn generate<R: CryptoRng + ?Sized>(publisher: PeerId, signed_frames: bool, rng: &mut R) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let id = rng.next_u32();
        let signing = SigningKey::generate_from_rng(rng);
        Self { publisher, id, signed_frames, generation: 0, secret: GenerationSecret::new(secret), signing }
    }

    /// `flags 1 | id 4 | generation 1 | secret 32 | signing key 32`, for durable state.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(1 + 4 + 1 + 32 + 32));
        out.push(if self.signed_frames { FLAG_SIGNED_FRAMES } else { 0 });
        out.extend_from_slice(&self.id.to_be_bytes());
        out.push(self.generation);
        out.extend_from_slice(self.secret.expose());
        out.extend_from_slice(&Zeroizing::new(self.signing.to_bytes())[..]);
        out
    }

    pub(crate) fn decode(publisher: PeerId, bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8()?;
        let (id, generation) = (reader.u32()?, reader.u8()?);
        let secret = GenerationSecret::new(Zeroizing::new(reader.array()?));
        let signing = SigningKey::from_slice(reader.take(32)?).map_err(|_| WireError::Range)?;
        reader.finish()?;
        Ok(Self { publisher, id, signed_frames: flags & FLAG_SIGNED_FRAMES != 0, generation, secret, signing })
    }

    /// A copy that steps ahead on its own, to read what a copy of us has sealed.
    pub(crate) fn ahead(&self, generation: u8) -> Option<GenerationSecret> {
        let mut secret = self.secret.clone();
        for _ in self.generation..generation {
            secret = kdf::next_generation(&secret, self.publisher, self.id);
        }
        (generation >= self.generation).then_some(secret)
    }

    /// Whether a signature is this stream's.
    pub(crate) fn verifies(&self, message: &Signed<'_>, signature: &[u8; SIGNATURE_LEN]) -> bool {
        self.verifier().verify(self.publisher, message, signature).is_ok()
    }

    fn verifier(&self) -> StreamVerifier {
        StreamVerifier::from_key(&self.signing.verifying_key().into())
    }

    /// The stream's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The current generation.
    pub fn generation(&self) -> u8 {
        self.generation
    }

    /// Whether every frame carries a signature.
    pub fn signed_frames(&self) -> bool {
        self.signed_frames
    }

    /// What a subscriber gets: this generation and every later one, none before.
    pub fn grant(&self) -> StreamGrant {
        StreamGrant {
            id: self.id,
            signed_frames: self.signed_frames,
            generation: self.generation,
            secret: self.secret.clone(),
            verifier: self.verifier(),
        }
    }

    /// Steps to the next generation and forgets this one. False at the last: then a new stream is due.
    pub fn step(&mut self) -> bool {
        if self.generation == LAST_GENERATION {
            return false;
        }
        self.secret = kdf::next_generation(&self.secret, self.publisher, self.id);
        self.generation += 1;
        true
    }

    pub(crate) fn secret(&self) -> &GenerationSecret {
        &self.secret
    }

    pub(crate) fn context(&self, run: [u8; 5]) -> TrafficContext {
        TrafficContext { publisher: self.publisher, stream: self.id, run, generation: self.generation }
    }

    /// ECDSA P-256 with SHA-256 (FIPS 186-5; deterministic, RFC 6979), `r ‖ s`.
    pub(crate) fn sign(&self, message: &Signed<'_>) -> [u8; SIGNATURE_LEN] {
        sign(&self.signing, &message.bytes(self.publisher))
    }
}

impl fmt::Debug for StreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSecret({}, generation {}, [secret])", self.id, self.generation)
    }
}

/// What a stream's signature covers: `label ‖ idP ‖ header ‖ topic length 2 ‖ topic ‖ body`.
pub(crate) enum Signed<'a> {
    Tick { header: &'a [u8], topic: &'a str, body: &'a [u8] },
    Frame { header: &'a [u8], topic: &'a str, body: &'a [u8] },
}

impl Signed<'_> {
    fn bytes(&self, publisher: PeerId) -> Vec<u8> {
        let (label, header, topic, body) = match *self {
            Self::Tick { header, topic, body } => (TICK_LABEL, header, topic, body),
            Self::Frame { header, topic, body } => (FRAME_LABEL, header, topic, body),
        };
        let topic_len = u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes();
        [label, publisher.as_bytes(), header, &topic_len, topic.as_bytes(), body].concat()
    }
}

/// The verification key of a stream.
#[derive(Clone, Debug)]
pub struct StreamVerifier {
    bytes: [u8; POINT_LEN],
    key: Verifier,
}

impl PartialEq for StreamVerifier {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for StreamVerifier {}

impl StreamVerifier {
    fn from_key(key: &PublicKey) -> Self {
        Self { bytes: point_bytes(key), key: Verifier::new(key) }
    }

    pub(crate) fn from_bytes(bytes: &[u8; POINT_LEN]) -> Result<Self, WireError> {
        parse_point(bytes).map(|point| Self::from_key(&point)).map_err(|_| WireError::Point)
    }

    /// The 33 bytes of the point.
    pub fn as_bytes(&self) -> &[u8; POINT_LEN] {
        &self.bytes
    }

    pub(crate) fn verify(
        &self,
        publisher: PeerId,
        message: &Signed<'_>,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), NotAuthentic> {
        self.key.verify(&message.bytes(publisher), signature)
    }
}
