//! Reading and writing the scalar parts of messages: big-endian integers, shortest-form LEB128 varints.

use super::{Kind, WireError};

/// Bytes of the longest varint.
pub(super) const MAX_VARINT_LEN: usize = 5;

/// Takes a message apart from its front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads a message of one kind, past its type byte.
    ///
    /// # Errors
    /// [`WireError`] when the type byte is another.
    pub fn of_kind(bytes: &'a [u8], kind: Kind) -> Result<Self, WireError> {
        match Kind::of(bytes)? {
            found if found == kind => Ok(Self { rest: &bytes[1..] }),
            found => Err(WireError::Kind(found as u8)),
        }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, big-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// An unsigned LEB128 varint below 2^32, in its shortest form (at most 5 bytes).
    ///
    /// # Errors
    /// [`WireError::Varint`] when it is longer than needed or too large.
    #[inline]
    pub fn varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u64;
        for index in 0..MAX_VARINT_LEN {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let shortest = index == 0 || byte != 0;
                return u32::try_from(value).ok().filter(|_| shortest).ok_or(WireError::Varint);
            }
        }
        Err(WireError::Varint)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that the message ends here.
    ///
    /// # Errors
    /// [`WireError::Oversized`] when it does not.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Oversized) }
    }
}

/// Appends an unsigned LEB128 varint in its shortest form.
pub fn push_varint(out: &mut Vec<u8>, value: u32) {
    if value < 0x80 {
        return out.push(value.to_le_bytes()[0]);
    }
    let (bytes, len) = encode_varint(value);
    out.extend_from_slice(&bytes[..len]);
}

/// The bytes that [`push_varint`] appends, and how many they are.
#[inline]
pub(super) fn encode_varint(mut value: u32) -> ([u8; MAX_VARINT_LEN], usize) {
    let (mut bytes, mut len) = ([0; MAX_VARINT_LEN], 0);
    for byte in &mut bytes {
        len += 1;
        *byte = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, len)
}

/// Bytes that [`push_varint`] appends.
pub(crate) fn varint_len(value: u32) -> usize {
    let bits = u32::BITS - (value | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_read_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455, 268_435_456, u32::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_len(value));
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn varints_longer_than_needed_or_too_large_are_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xff, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0x10],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ] {
            assert_eq!(Reader::new(bytes).varint(), Err(WireError::Varint), "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[0x80]).varint(), Err(WireError::Truncated));
    }
}
