//! What an engine keeps over a restart: records of a few tables, as bytes that only the engine reads.
//!
//! An engine marks what has changed; [`Change`]s are taken together and stored in one transaction. Whatever it wanted
//! sent or acknowledged in the same calls leaves only after that transaction is durable.

use std::fmt;

use zeroize::Zeroizing;

use crate::wire::WireError;

/// The tables of both engines. The numbers are part of the schema on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// A publisher's own: stream, hellos, a rotation under way.
    Own = 1,
    /// A publisher's subscribers and their sessions, by id.
    Member = 2,
    /// A publisher's runs, by run.
    OwnRun = 3,
    /// How far each topic of a publisher's run was sealed, by run and topic.
    OwnTopic = 4,
    /// Sealed frames that may be sent again, by the order of sealing.
    Segment = 5,
    /// Up to which segment everything is with the broker: one record.
    Mark = 6,
    /// A subscriber's counter: one record.
    Counter = 16,
    /// A subscriber's publishers and their sessions, by id.
    Peer = 17,
    /// The streams that a subscriber holds, by publisher and stream.
    Stream = 18,
    /// The runs that a subscriber follows, by publisher and run.
    Run = 19,
    /// Replay windows, by publisher, run and topic.
    Topic = 20,
    /// Frames that wait for a key, by the order of their arrival.
    Parked = 21,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 12] = [
        Self::Own,
        Self::Member,
        Self::OwnRun,
        Self::OwnTopic,
        Self::Segment,
        Self::Mark,
        Self::Counter,
        Self::Peer,
        Self::Stream,
        Self::Run,
        Self::Topic,
        Self::Parked,
    ];

    /// The table of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }
}

/// A record as it was stored.
#[derive(Clone)]
pub struct Record {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes: secrets, perhaps.
    pub value: Zeroizing<Vec<u8>>,
}

/// A record to be put, or removed where there is no value.
#[derive(Clone)]
pub struct Change {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes; `None` removes it.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

impl Change {
    pub(crate) fn put(table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { table, key, value: Some(Zeroizing::new(value)) }
    }

    pub(crate) fn remove(table: Table, key: Vec<u8>) -> Self {
        Self { table, key, value: None }
    }
}

// A record may hold secrets: its bytes are shown to nobody.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?}, {} bytes)", self.table, self.value.len())
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "Change({:?}, {} bytes)", self.table, value.len()),
            None => write!(f, "Change({:?}, removed)", self.table),
        }
    }
}

/// A record that cannot be read: the state is damaged, or of a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError {
    /// Its table.
    pub table: Table,
    /// What is wrong with it.
    pub why: WireError,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of the table {:?} cannot be read: {}", self.table, self.why)
    }
}

impl std::error::Error for RestoreError {}
