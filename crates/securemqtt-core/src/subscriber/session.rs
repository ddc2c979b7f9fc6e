//! A session with a publisher, and what is sent again until it has its effect.

use rand_core::CryptoRng;

use crate::Now;
use crate::chain::ChainReceiver;
use crate::handshake::SessionKeys;
use crate::kdf::AckKey;
use crate::wire::Ack;

/// The first and the longest wait before something is sent again.
const RESEND_MS: (u64, u64) = (1_000, 30_000);
/// A session is renewed after 20 hours.
const RENEW_MS: u64 = 20 * 3_600_000;

/// Something that is sent again until it has its effect: doubling waits, with jitter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resend {
    pub(super) at_ms: u64,
    pub(super) tries: u32,
}

impl Resend {
    pub(super) fn first<R: CryptoRng + ?Sized>(now_ms: u64, rng: &mut R) -> Self {
        Self { at_ms: 0, tries: 0 }.next(now_ms, rng)
    }

    pub(super) fn next<R: CryptoRng + ?Sized>(self, now_ms: u64, rng: &mut R) -> Self {
        let wait = (RESEND_MS.0 << self.tries.min(5)).min(RESEND_MS.1);
        let jitter = u64::from(rng.next_u32()) % (wait / 2);
        Self { at_ms: now_ms + wait / 2 + jitter, tries: self.tries + 1 }
    }
}

/// A session on the subscriber's side.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) sid: [u8; 8],
    pub(super) ka: AckKey,
    pub(super) chain: ChainReceiver,
    pub(super) renew_ms: u64,
    pub(super) made_unix_ms: u64,
    /// The confirm is repeated until entry 1 opens.
    pub(super) confirm: Option<Resend>,
}

impl Session {
    pub(super) fn new<R: CryptoRng + ?Sized>(keys: &SessionKeys, now: Now, rng: &mut R) -> Self {
        Self {
            sid: keys.sid,
            ka: keys.ka.clone(),
            chain: ChainReceiver::new(keys),
            renew_ms: now.mono_ms + RENEW_MS,
            made_unix_ms: now.unix_ms,
            confirm: Some(Resend::first(now.mono_ms, rng)),
        }
    }

    /// The session of an earlier process. A clock that went back only brings its renewal forward.
    pub(super) fn restored<R: CryptoRng + ?Sized>(
        sid: [u8; 8],
        ka: AckKey,
        chain: ChainReceiver,
        made_unix_ms: u64,
        confirming: bool,
        now: Now,
        rng: &mut R,
    ) -> Self {
        let left = RENEW_MS.saturating_sub(now.unix_ms.abs_diff(made_unix_ms));
        let confirm = confirming.then(|| Resend::first(now.mono_ms, rng));
        Self { sid, ka, chain, renew_ms: now.mono_ms + left, made_unix_ms, confirm }
    }

    /// An ACK for what has been opened so far.
    pub(super) fn ack(&self, sctr: u64) -> Vec<u8> {
        Ack { sid: self.sid, idx: self.chain.index(), sctr }.seal(&self.ka)
    }
}
