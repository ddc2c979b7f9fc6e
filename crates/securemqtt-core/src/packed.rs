//! Changes of records that hold no secret, one behind the other in one run of bytes: so the engine learns them, and so a log on
//! disk may have them.
//!
//! A subscriber with thousands of publishers has a replay window to store for nearly every reading. As
//! [`Change`](crate::record::Change)s those would be two allocations each, which another thread gives back. And a key is
//! longer than all that changes: it is said once, together with a number for it, its place.
//!
//! ```text
//!  n x { place varint | key length 3 | value length 4, all ones for a removal | key | value }
//! ```
//! A key begins with the number of its table. Place 0 is none; a change of place 0 has a key. A change with both says whose the
//! place is from there on, and one of no key (length 0) is of the record whose the place is. The last change of a record counts.

use std::collections::HashMap;

use crate::wire::{Reader, WireError, push_varint, varint_len};

const REMOVED: u32 = u32::MAX;

/// See above.
#[derive(Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    number: usize,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedChange<'a> {
    /// The place of its record; 0 is none.
    pub place: u32,
    /// Empty where the place tells it.
    pub key: &'a [u8],
    /// None where the record is removed.
    pub value: Option<&'a [u8]>,
}

impl PackedChange<'_> {
    /// Bytes that it takes in [`Packed::bytes`].
    pub fn packed_len(&self) -> usize {
        varint_len(self.place) + 3 + 4 + self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
}

impl Packed {
    /// Puts a record: its place, the parts of its key, and what writes its value behind what is there.
    pub fn put(&mut self, place: u32, key: &[&[u8]], write: impl FnOnce(&mut Vec<u8>)) {
        let value_length = self.begin(place, key);
        let value = self.bytes.len();
        write(&mut self.bytes);
        let length = length(self.bytes.len() - value);
        self.bytes[value_length..value_length + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The same of a value that is there already; none removes the record.
    pub fn push(&mut self, place: u32, key: &[&[u8]], value: Option<&[u8]>) {
        match value {
            Some(value) => self.put(place, key, |out| out.extend_from_slice(value)),
            None => drop(self.begin(place, key)),
        }
    }

    /// A key, with the length of a removal. Where that length is.
    fn begin(&mut self, place: u32, key: &[&[u8]]) -> usize {
        push_varint(&mut self.bytes, place);
        let key_length = length(key.iter().map(|part| part.len()).sum()).to_be_bytes();
        self.bytes.extend_from_slice(&key_length[1..]);
        let value_length = self.bytes.len();
        self.bytes.extend_from_slice(&REMOVED.to_be_bytes());
        for part in key {
            self.bytes.extend_from_slice(part);
        }
        self.number += 1;
        value_length
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
    u32::try_from(bytes).ok().filter(|length| *length < 1 << 24).expect("below 16 MiB")
}

/// The changes in [`Packed::bytes`], in their order.
///
/// # Errors
/// [`WireError`] where they are cut short, or one is of no record; nothing comes after it.
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
    let place = reader.varint()?;
    let [a, b, c] = reader.array()?;
    let (key, value) = (u32::from_be_bytes([0, a, b, c]), reader.u32()?);
    let key = take(reader, key)?;
    if place == 0 && key.is_empty() {
        return Err(WireError::Range);
    }
    let value = if value == REMOVED { None } else { Some(take(reader, value)?) };
    Ok(PackedChange { place, key, value })
}

/// Whose the places are, as the changes so far have said it: for whoever needs the key of each.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<u32, Vec<u8>>);

impl Places {
    /// The next changes with the keys of all of them, and no places.
    ///
    /// # Errors
    /// [`WireError`] where nothing was said of a place.
    pub fn spell_out(&mut self, changes: &Packed) -> Result<Packed, WireError> {
        let mut spelled = Packed::default();
        for change in unpack(changes.bytes()) {
            let PackedChange { place, key, value } = change?;
            if place != 0 && !key.is_empty() {
                self.0.insert(place, key.to_vec());
            }
            let key = if key.is_empty() { self.0.get(&place).ok_or(WireError::Range)? } else { key };
            spelled.push(0, &[key], value);
            if value.is_none() {
                self.0.remove(&place);
            }
        }
        Ok(spelled)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn change<'a>(place: u32, key: &'a [u8], value: Option<&'a [u8]>) -> PackedChange<'a> {
        PackedChange { place, key, value }
    }

    #[test]
    fn what_is_packed_is_unpacked_in_its_order() {
        let mut first = Packed::default();
        first.put(0, &[b"\x14", b"a", b"b"], |value| value.extend_from_slice(b"123"));
        first.push(300, &[b"c"], None);
        let mut packed = Packed::default();
        packed.append(first);
        let mut later = Packed::default();
        later.put(300, &[], |_| ());
        packed.append(later);
        assert_eq!(packed.number(), 3);
        let bytes = b"\0\0\0\x03\0\0\0\x03\x14ab123\xac\x02\0\0\x01\xff\xff\xff\xffc\xac\x02\0\0\0\0\0\0\0";
        assert_eq!(packed.bytes(), bytes);
        let all: Vec<_> = unpack(bytes).collect::<Result<_, _>>().unwrap();
        let want = [change(0, b"\x14ab", Some(b"123")), change(300, b"c", None), change(300, b"", Some(b""))];
        assert_eq!(all, want);
        assert_eq!(all.iter().map(PackedChange::packed_len).sum::<usize>(), bytes.len());
    }

    #[test]
    fn what_is_cut_short_or_of_no_record_is_an_error_once() {
        let mut packed = Packed::default();
        packed.push(1, &[b"key"], Some(b"value"));
        let whole = packed.into_bytes();
        for length in 1..whole.len() {
            let all: Vec<_> = unpack(&whole[..length]).collect();
            assert_eq!(all, [Err(WireError::Truncated)], "{length} of {} bytes", whole.len());
        }
        let mut of_none = Packed::default();
        of_none.push(0, &[], Some(b"value"));
        of_none.push(0, &[b"key"], None);
        assert_eq!(unpack(of_none.bytes()).collect::<Vec<_>>(), [Err(WireError::Range)]);
    }

    /// A place, a key and a value.
    type Said<'a> = (u32, &'a [u8], Option<&'a [u8]>);
    /// A key and a value.
    type Spelled = (Vec<u8>, Option<Vec<u8>>);

    fn spelled_out(places: &mut Places, changes: &[Said<'_>]) -> Result<Vec<Spelled>, WireError> {
        let mut packed = Packed::default();
        for (place, key, value) in changes {
            packed.push(*place, &[key], *value);
        }
        let spelled = places.spell_out(&packed)?;
        let owned = |change: PackedChange<'_>| (change.key.to_vec(), change.value.map(<[u8]>::to_vec));
        unpack(spelled.bytes()).map(|change| change.map(owned)).collect()
    }

    #[test]
    fn a_place_is_whose_it_was_said_to_be_last() {
        let mut places = Places::default();
        let said = spelled_out(&mut places, &[(1, b"a", Some(b"1")), (2, b"b", Some(b"2")), (1, b"", Some(b"3"))]);
        let pair = |key: &[u8], value: &[u8]| (key.to_vec(), Some(value.to_vec()));
        assert_eq!(said.unwrap(), [pair(b"a", b"1"), pair(b"b", b"2"), pair(b"a", b"3")]);
        let said = spelled_out(&mut places, &[(2, b"", Some(b"4")), (1, b"c", Some(b"5")), (1, b"", Some(b"6"))]);
        assert_eq!(said.unwrap(), [pair(b"b", b"4"), pair(b"c", b"5"), pair(b"c", b"6")]);
        let said = spelled_out(&mut places, &[(1, b"", None)]);
        assert_eq!(said.unwrap(), [(b"c".to_vec(), None)]);
        for place in [1, 7] {
            assert_eq!(spelled_out(&mut places, &[(place, b"", Some(b"8"))]), Err(WireError::Range), "{place}");
        }
    }
}
