//! The messages as bytes: one file a message, with its byte diagram. Decoding validates everything that can be
//! judged without a key; what comes out is well formed.

mod ack;
mod frame;
mod grant;
mod hello;
mod keys;
mod next;
mod reader;
mod receipt;
mod report;
mod request;
mod retry;
mod tick;

use std::fmt;

pub use ack::{ACK_LEN, Ack};
pub(crate) use frame::{BatchReadings, reading_len};
pub use frame::{FrameHeader, MAX_FRAME_OVERHEAD, batch_readings, push_reading};
pub use grant::{Grant, GrantPayload, Status};
pub use hello::{Hello, MAX_SUITES};
pub use keys::{Entry, EntryPayload, Keys, MAX_ENTRIES};
pub(crate) use next::NextFrame;
pub(crate) use reader::varint_len;
pub use reader::{Reader, push_varint};
pub use receipt::{RECEIPT_LEN, Receipt};
pub use report::{MAX_REPORT_LEN, MAX_REPORT_TOPICS, Report, TopicHash, TopicReport, topic_hash};
pub use request::{REQUEST_MAC_LEN, Request, RequestPayload};
pub use retry::Retry;
pub(crate) use tick::OLDER_RUN_LEN;
pub use tick::{MAX_TICK_LEN, RunPositions, TickBody, TopicPosition};

/// The version of the protocol, the high nibble of every type byte.
pub const VERSION: u8 = 1;
/// Suite 1: P-256, HKDF-SHA256, AES-128-GCM.
pub const SUITE_1: u8 = 1;

/// The kind of a message, the low nibble of its type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// P → all, retained: key and challenge.
    Hello = 1,
    /// S → P: the first handshake message.
    Request = 2,
    /// P → S: ask again, with this hello.
    Retry = 3,
    /// P → S: the second handshake message.
    Grant = 4,
    /// S → P: confirmation of the handshake or of an entry.
    Ack = 5,
    /// P → S, retained: the key chain.
    Keys = 6,
    /// P → all: one reading.
    Frame = 7,
    /// P → all: several readings.
    Batch = 8,
    /// P → all, retained: the signed heartbeat.
    Tick = 9,
    /// S → P: what it has, and what it wants again.
    Report = 10,
    /// P → S: the answer to a report.
    Receipt = 11,
}

impl Kind {
    /// The type byte.
    pub const fn type_byte(self) -> u8 {
        VERSION << 4 | self as u8
    }

    /// The kind of a message.
    ///
    /// # Errors
    /// [`WireError`] when it is empty, of another version, or of no known kind.
    #[inline]
    pub fn of(message: &[u8]) -> Result<Self, WireError> {
        let &first = message.first().ok_or(WireError::Truncated)?;
        if first >> 4 != VERSION {
            return Err(WireError::Version(first >> 4));
        }
        Ok(match first & 0x0f {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Retry,
            4 => Self::Grant,
            5 => Self::Ack,
            6 => Self::Keys,
            7 => Self::Frame,
            8 => Self::Batch,
            9 => Self::Tick,
            10 => Self::Report,
            11 => Self::Receipt,
            other => return Err(WireError::Kind(other)),
        })
    }
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It ends early.
    Truncated,
    /// It goes on after its end, or a part is longer than allowed.
    Oversized,
    /// Another version of the protocol.
    Version(u8),
    /// A kind that does not exist, or does not belong here.
    Kind(u8),
    /// A suite that is not supported.
    Suite(u8),
    /// A public key that is not a compressed P-256 point.
    Point,
    /// A varint that is not the shortest, or over its range.
    Varint,
    /// A name or topic that is not allowed.
    Text,
    /// A count or code outside its range.
    Range,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message is cut short"),
            Self::Oversized => f.write_str("the message is longer than its kind allows"),
            Self::Version(version) => {
                write!(f, "the message is of protocol version {version}; this program speaks version {VERSION}")
            }
            Self::Kind(kind) => write!(f, "message kind {kind} is unknown or does not belong here"),
            Self::Suite(suite) => write!(f, "suite {suite} is not supported"),
            Self::Point => f.write_str("a public key in the message is not a compressed P-256 point"),
            Self::Varint => f.write_str("a varint in the message is malformed"),
            Self::Text => f.write_str("a name or topic in the message is not allowed"),
            Self::Range => f.write_str("a count or code in the message is out of range"),
        }
    }
}

impl std::error::Error for WireError {}
