//! Changes of records that hold no secret, one behind the other in one run of bytes: so the engine learns them, and so a log on
//! disk may have them.
//!
//! A subscriber with thousands of publishers has a replay window to store for nearly every reading. As
//! [`Change`](crate::record::Change)s those would be two allocations each, which another thread gives back.
//!
//! ```text
//!  n x { key length 4 | value length 4, all ones for a removal | key | value }
//! ```
//! A key begins with the number of its table. It comes as often as its record was changed; the last one counts.

use crate::wire::{Reader, WireError};

const REMOVED: u32 = u32::MAX;

/// See above.
#[derive(Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    number: usize,
}

/// A key, and its value; none where the record is removed.
pub type PackedChange<'a> = (&'a [u8], Option<&'a [u8]>);

/// Bytes that a change takes in [`Packed::bytes`].
pub fn packed_len((key, value): PackedChange<'_>) -> usize {
    4 + 4 + key.len() + value.map_or(0, <[u8]>::len)
}

impl Packed {
    /// Puts a record: the parts of its key, and what writes its value behind what is there.
    pub fn put(&mut self, key: &[&[u8]], write: impl FnOnce(&mut Vec<u8>)) {
        let lengths = self.begin(key);
        let value = self.bytes.len();
        write(&mut self.bytes);
        let length = length(self.bytes.len() - value);
        self.bytes[lengths + 4..lengths + 8].copy_from_slice(&length.to_be_bytes());
    }

    /// The same of a value that is there already; none removes the record.
    pub fn push(&mut self, key: &[&[u8]], value: Option<&[u8]>) {
        match value {
            Some(value) => self.put(key, |out| out.extend_from_slice(value)),
            None => drop(self.begin(key)),
        }
    }

    /// A key, with the length of a removal. Where its lengths are.
    fn begin(&mut self, key: &[&[u8]]) -> usize {
        let lengths = self.bytes.len();
        let key_length = length(key.iter().map(|part| part.len()).sum());
        self.bytes.extend_from_slice(&key_length.to_be_bytes());
        self.bytes.extend_from_slice(&REMOVED.to_be_bytes());
        for part in key {
            self.bytes.extend_from_slice(part);
        }
        self.number += 1;
        lengths
    }

    /// Adds those that came after.
    pub fn append(&mut self, later: Self) {
        if self.number == 0 {
            *self = later;
        } else {
            self.bytes.extend_from_slice(&later.bytes);
            self.number += later.number;
        }
    }

    /// How many there are, of one record perhaps several.
    pub fn number(&self) -> usize {
        self.number
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// See [`Packed::bytes`].
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[expect(clippy::expect_used, reason = "a topic has 64 KiB, and a window some hundred ranges, at most")]
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).ok().filter(|length| *length != REMOVED).expect("below 4 GiB")
}

/// The changes in [`Packed::bytes`], in their order.
///
/// # Errors
/// [`WireError`] where they are cut short; nothing comes after it.
pub fn unpack(bytes: &[u8]) -> impl Iterator<Item = Result<PackedChange<'_>, WireError>> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let change = next(&mut reader);
        if change.is_err() {
            reader.rest();
        }
        Some(change)
    })
}

fn next<'a>(reader: &mut Reader<'a>) -> Result<PackedChange<'a>, WireError> {
    let take =
        |reader: &mut Reader<'a>, length| reader.take(usize::try_from(length).map_err(|_| WireError::Truncated)?);
    let (key, value) = (reader.u32()?, reader.u32()?);
    let key = take(reader, key)?;
    Ok((key, if value == REMOVED { None } else { Some(take(reader, value)?) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_in_its_order() {
        let mut first = Packed::default();
        first.put(&[b"\x14", b"a", b"b"], |value| value.extend_from_slice(b"123"));
        first.push(&[b"c"], None);
        let mut packed = Packed::default();
        packed.append(first);
        let mut later = Packed::default();
        later.put(&[b"c"], |_| ());
        packed.append(later);
        assert_eq!(packed.number(), 3);
        let bytes = b"\0\0\0\x03\0\0\0\x03\x14ab123\0\0\0\x01\xff\xff\xff\xffc\0\0\0\x01\0\0\0\0c";
        assert_eq!(packed.bytes(), bytes);
        let all: Vec<_> = unpack(bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(all, [(&b"\x14ab"[..], Some(&b"123"[..])), (b"c", None), (b"c", Some(b""))]);
        assert_eq!(all.into_iter().map(packed_len).sum::<usize>(), bytes.len());
    }

    #[test]
    fn what_is_cut_short_is_an_error_once() {
        let mut packed = Packed::default();
        packed.push(&[b"key"], Some(b"value"));
        let whole = packed.into_bytes();
        for length in 1..whole.len() {
            let all: Vec<_> = unpack(&whole[..length]).collect();
            assert_eq!(all, [Err(WireError::Truncated)], "{length} of {} bytes", whole.len());
        }
    }
}
