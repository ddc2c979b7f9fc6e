//! What becomes of a reading that verified: one record, one line.

mod demo;
mod escape;
mod format;
mod json;
mod select;
mod style;
mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use securemqtt_core::identity::Fingerprint;
use securemqtt_core::subscriber::Span;
use securemqtt_core::{Bytes, Qos};

pub(crate) use self::format::LETTERS;
pub use self::format::Template;
pub use self::select::Selection;
pub use self::style::Style;
pub use self::writer::{Output, Synced};

/// A reading, with all that is known of its way here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When its frame arrived.
    pub arrived: SystemTime,
    /// The topic it was sealed for.
    pub topic: Arc<str>,
    /// The quality of service it arrived with.
    pub qos: Qos,
    /// Whether the broker had retained it.
    pub retain: bool,
    /// The publisher's petname.
    pub publisher: Arc<str>,
    /// The publisher's fingerprint.
    pub fingerprint: Fingerprint,
    /// The stream.
    pub stream: u32,
    /// The sequence number within run and topic.
    pub seq: u32,
    /// How long the opening took.
    pub decrypt: Duration,
    /// Whether it may have been put out before, by a run that was killed.
    pub redelivered: bool,
    /// The reading.
    pub payload: Bytes,
}

impl Record {
    fn qos_digit(&self) -> u8 {
        match self.qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
        }
    }

    fn decrypt_us(&self) -> f64 {
        self.decrypt.as_secs_f64() * 1e6
    }
}

/// A range of readings that did not come, came late, or were forged.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    /// `missing`, `late` or `forged`.
    pub event: &'static str,
    /// The publisher's petname.
    pub publisher: &'a str,
    /// The publisher's fingerprint.
    pub fingerprint: Fingerprint,
    /// Which readings.
    pub span: &'a Span,
}

#[cfg(test)]
mod fixture {
    use super::*;

    /// A record whose every field differs from its default.
    pub(super) fn record(payload: &[u8]) -> Record {
        let fingerprint = format!("SHA256:{}", "A".repeat(43));
        Record {
            arrived: SystemTime::UNIX_EPOCH + Duration::new(1_470_818_943, 786_368_637),
            topic: "telemetry/ward-7".into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            publisher: "publisher-3fa1".into(),
            fingerprint: fingerprint.parse().unwrap_or_else(|_| unreachable!()),
            stream: 7,
            seq: 12,
            decrypt: Duration::from_nanos(412),
            redelivered: false,
            payload: payload.to_vec().into(),
        }
    }
}
