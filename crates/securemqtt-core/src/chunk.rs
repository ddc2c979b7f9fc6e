//! Frames and readings are cut from a few kilobytes at a time: one allocation for many of them, and none at all while those
//! before are gone when the next comes.
//!
//! A piece keeps its chunk, and no more than that: what is large has a buffer of its own.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk: some thirty frames. A piece that is kept for long keeps as much.
const CHUNK: usize = 4096;
/// What is larger than that, and than what is left of a chunk, has its own buffer: the rest is no great loss.
const MAX_PIECE: usize = CHUNK / 4;

/// Where pieces are cut from. There is no chunk before the first.
#[derive(Default)]
pub(crate) struct Chunk {
    /// What is left of the current chunk, with what was written of the next piece.
    free: BytesMut,
    /// The chunk, while something large is written.
    aside: Option<BytesMut>,
}

impl Chunk {
    /// An empty buffer to write a piece of at most `len` bytes to. What was begun before and not ended is gone.
    #[inline]
    pub(crate) fn begin(&mut self, len: usize) -> &mut BytesMut {
        self.put_back();
        self.free.clear();
        if self.free.capacity() < len {
            self.renew(len);
        }
        &mut self.free
    }

    /// What was begun, as far as it was written.
    pub(crate) fn begun(&mut self) -> &mut BytesMut {
        &mut self.free
    }

    /// What was begun, as a piece.
    #[expect(clippy::inline_always, reason = "it is two moves, beside what is never taken; as a call it is many")]
    #[inline(always)]
    pub(crate) fn end(&mut self) -> Bytes {
        let piece = self.free.split().freeze();
        self.put_back();
        piece
    }

    /// Back to the chunk, where something large was written, or was not ended.
    #[inline]
    fn put_back(&mut self) {
        if self.aside.is_some() {
            self.take_back();
        }
    }

    #[cold]
    fn take_back(&mut self) {
        self.free = self.aside.take().unwrap_or_default();
    }

    /// A piece that is a copy of some bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.begin(bytes.len()).extend_from_slice(bytes);
        self.end()
    }

    /// A buffer of its own for what is large. Otherwise the same chunk again, where no piece of it is left; where one is, those
    /// who hold it free it.
    #[cold]
    fn renew(&mut self, len: usize) {
        if len > MAX_PIECE {
            self.aside = Some(std::mem::replace(&mut self.free, BytesMut::with_capacity(len)));
        } else if !self.free.try_reclaim(CHUNK) {
            self.free = BytesMut::with_capacity(CHUNK);
        }
    }
}

// What is written here are readings.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes left)", self.free.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// How many chunks pieces are of, that were cut one after the other.
    fn chunks(pieces: &[Bytes]) -> usize {
        1 + pieces.windows(2).filter(|two| two[0].as_ptr().wrapping_add(two[0].len()) != two[1].as_ptr()).count()
    }

    #[test]
    fn pieces_stay_what_they_are_and_many_share_a_chunk() {
        let mut chunk = Chunk::default();
        let pieces: Vec<Bytes> = (0..=255).map(|n| chunk.copy(&[n; 100])).collect();
        assert!((0..=255).zip(&pieces).all(|(n, piece)| **piece == [n; 100]));
        assert!(chunks(&pieces) <= 256_usize.div_ceil(CHUNK / 100), "{}", chunks(&pieces));
    }

    #[test]
    fn a_chunk_is_used_again_only_when_none_of_its_pieces_is_left() {
        // Where pieces for some chunks begin, each of them gone when the next comes.
        let fill = |chunk: &mut Chunk| -> BTreeSet<usize> {
            (0..4 * CHUNK / 64).map(|_| chunk.copy(&[7; 64]).as_ptr().addr()).collect()
        };
        let mut chunk = Chunk::default();
        let kept = chunk.copy(b"kept");
        fill(&mut chunk);
        assert_eq!(kept, "kept");
        assert!(!fill(&mut chunk).contains(&kept.as_ptr().addr()));
        assert_eq!(fill(&mut chunk).len(), CHUNK / 64, "the same places again and again");
    }

    #[test]
    fn what_is_large_leaves_the_chunk_alone_and_keeps_no_other_piece() {
        let mut chunk = Chunk::default();
        let before: Vec<Bytes> = (0..4).map(|n| chunk.copy(&[n; MAX_PIECE - 24])).collect();
        let large = chunk.copy(&[1; MAX_PIECE + 1]);
        let after = chunk.copy(b"after");
        assert_eq!(chunks(&[before.as_slice(), &[after]].concat()), 1);
        assert!(large.is_unique());
        assert_eq!(large.len(), MAX_PIECE + 1);
    }

    #[test]
    fn nothing_of_what_was_not_ended_is_in_the_next_piece() {
        let mut chunk = Chunk::default();
        for len in [9, MAX_PIECE + 1] {
            chunk.begin(len).extend_from_slice(b"not this");
            assert_eq!(chunk.copy(b"this"), "this");
        }
        let before = chunk.copy(b"before");
        chunk.begin(2 * CHUNK).extend_from_slice(b"not this");
        let after = chunk.copy(b"after");
        assert_eq!(chunks(&[before, after]), 1, "one that is kept keeps no more than a chunk");
    }
}
