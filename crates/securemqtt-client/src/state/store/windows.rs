//! Replay windows as they are stored: what the entries of the log say of them, taken together.

use std::collections::HashMap;

use securemqtt_core::packed::{PackedChange, unpack};
use securemqtt_core::wire::WireError;

/// All windows, in the order in which they were named.
#[derive(Debug, Default)]
pub(super) struct Windows<'a> {
    /// What was said of each last, as one change. Its place is 0 where the engine has not named it, or calls another one that since.
    all: Vec<PackedChange<'a>>,
    by_key: HashMap<&'a [u8], usize>,
    /// Most of what is said is found by this, and no key is compared.
    by_place: HashMap<u32, usize>,
}

impl<'a> Windows<'a> {
    /// What some entries say, of which the later count.
    pub(super) fn of(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, redb::Error> {
        let mut windows = Self::default();
        for change in entries.into_iter().flat_map(unpack) {
            let said = change.and_then(|change| windows.say(change));
            said.map_err(|why| redb::Error::Corrupted(format!("an entry of its log cannot be read: {why}")))?;
        }
        Ok(windows)
    }

    /// Those that there are: of others it was said last that they are removed.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PackedChange<'a>> {
        self.all.iter().filter(|window| window.value.is_some())
    }

    fn say(&mut self, change: PackedChange<'a>) -> Result<(), WireError> {
        let at = match change.key {
            [] => *self.by_place.get(&change.place).ok_or(WireError::Range)?,
            key => self.name(change.place, key),
        };
        self.all[at].value = change.value;
        Ok(())
    }

    /// Where the window of a key is, which has this place from now on, and nobody else has.
    fn name(&mut self, place: u32, key: &'a [u8]) -> usize {
        let at = *self.by_key.entry(key).or_insert(self.all.len());
        if at == self.all.len() {
            self.all.push(PackedChange { place: 0, key, value: None });
        }
        let before = self.all[at].place;
        if place != 0 && place != before {
            self.by_place.remove(&before);
            if let Some(other) = self.by_place.insert(place, at) {
                self.all[other].place = 0;
            }
            self.all[at].place = place;
        }
        at
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::packed::Packed;

    use super::*;

    /// A place, a key and a value.
    type Said<'a> = (u32, &'a [u8], Option<&'a [u8]>);

    fn packed(said: &[Said<'_>]) -> Vec<u8> {
        let mut packed = Packed::default();
        for (place, key, value) in said {
            packed.push(*place, &[key], *value);
        }
        packed.into_bytes()
    }

    fn check(said: &[Said<'_>], want: &[(u32, &[u8], &[u8])]) {
        // In one entry, and each in one of its own.
        let each: Vec<_> = said.iter().map(|said| packed(&[*said])).collect();
        for entries in [vec![packed(said)], each] {
            let windows = Windows::of(entries.iter().map(Vec::as_slice)).unwrap();
            let found: Vec<_> =
                windows.iter().map(|window| (window.place, window.key, window.value.unwrap())).collect();
            assert_eq!(found, want);
        }
    }

    #[test]
    fn the_last_that_is_said_of_each_counts_and_a_removal_is_that_too() {
        let removed = [(7, &b"c"[..], Some(&b"4"[..])), (7, b"", None), (0, b"d", Some(b"5")), (0, b"d", None)];
        check(&removed, &[]);
        let said =
            [(0, &b"a"[..], Some(&b"1"[..])), (9, b"b", Some(b"")), (0, b"a", Some(b"23")), (9, b"", Some(b"6"))];
        check(&said, &[(0, b"a", b"23"), (9, b"b", b"6")]);
        // One that comes again after its removal.
        check(&[(1, b"a", Some(b"1")), (1, b"", None), (2, b"a", Some(b"2"))], &[(2, b"a", b"2")]);
    }

    #[test]
    fn after_a_start_places_are_given_anew() {
        let before = [(1, &b"a"[..], Some(&b"1"[..])), (2, b"b", Some(b"2")), (3, b"c", Some(b"3"))];
        // They change places; the third has none yet, and keeps what was said of it.
        let since =
            [(1, &b"b"[..], Some(&b"4"[..])), (2, b"a", Some(b"5")), (1, b"", Some(b"6")), (2, b"", Some(b"7"))];
        check(&[before, since[..3].try_into().unwrap()].concat(), &[(2, b"a", b"5"), (1, b"b", b"6"), (3, b"c", b"3")]);
        check(&[&before[..], &since].concat(), &[(2, b"a", b"7"), (1, b"b", b"6"), (3, b"c", b"3")]);
        // One that had a place before takes another's.
        check(&[before[0], before[1], (2, b"a", Some(b"8"))], &[(2, b"a", b"8"), (0, b"b", b"2")]);
        // Its old place is nobody's, and takes nothing from it when it is given away.
        check(&[before[0], (2, b"a", Some(b"8")), (1, b"d", Some(b"9"))], &[(2, b"a", b"8"), (1, b"d", b"9")]);
    }

    #[test]
    fn an_entry_that_is_cut_short_or_of_an_unknown_place_is_damage() {
        let whole = packed(&[(1, b"key", Some(b"value"))]);
        for length in 1..whole.len() {
            assert!(Windows::of([&whole[..length]]).is_err(), "{length} of {} bytes", whole.len());
        }
        let of_another = packed(&[(2, b"", Some(b"value"))]);
        assert!(Windows::of([&whole[..], &of_another]).unwrap_err().to_string().contains("cannot be read"));
    }
}
