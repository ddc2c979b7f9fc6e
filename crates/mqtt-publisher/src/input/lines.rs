//! Lines of bounded length out of any reader.

use std::io::{self, BufRead};

/// One line, without its line ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is [`Lines::line`].
    Whole,
    /// It was longer than the limit, and was read past.
    TooLong,
}

/// The line that is being read: LF and CRLF end one, and so does the end of the input.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    has_begun: bool,
    is_over: bool,
    too_long: bool,
}

impl Lines {
    /// Reads the next line, of `limit` bytes at most; `None` if there is none left. After an error it goes on where it was: one
    /// that says that there is nothing more yet loses nothing.
    pub(super) fn next(&mut self, from: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
        if std::mem::take(&mut self.is_over) {
            self.buffer.clear();
            (self.has_begun, self.too_long) = (false, false);
        }
        loop {
            let chunk = match from.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            self.has_begun = true;
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..newline.unwrap_or(chunk.len())];
            // One byte more than the limit: it may be the CR.
            self.too_long = self.too_long || self.buffer.len() + part.len() > limit + 1;
            if !self.too_long {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len() + usize::from(newline.is_some());
            from.consume(used);
            if newline.is_some() {
                break;
            }
        }
        self.is_over = true;
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        self.too_long = self.too_long || self.buffer.len() > limit;
        Ok(self.has_begun.then_some(if self.too_long { Line::TooLong } else { Line::Whole }))
    }

    /// The bytes of the line, where it is whole.
    pub(super) fn line(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn lines(input: &[u8], chunk: usize, limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut from = BufReader::with_capacity(chunk, input);
        let mut lines = Lines::default();
        let mut all = Vec::new();
        while let Some(line) = lines.next(&mut from, limit).unwrap() {
            all.push((line == Line::Whole).then(|| lines.line().to_vec()));
        }
        all
    }

    #[test]
    fn endings_and_the_last_line() {
        let got = lines(b"a\r\nb\n\nc", 2, 9);
        let want = [b"a".to_vec(), b"b".to_vec(), vec![], b"c".to_vec()].map(Some);
        assert_eq!(got, want);
        assert!(lines(b"", 2, 9).is_empty());
    }

    #[test]
    fn the_limit_is_exact() {
        let got = lines(b"abcd\nabcde\nabcd\r\nabcde\r\nabcd\r\r\nok", 3, 4);
        let abcd = || Some(b"abcd".to_vec());
        assert_eq!(got, [abcd(), None, abcd(), None, None, Some(b"ok".to_vec())]);
    }

    /// Gives its bytes one at a time, and has none yet before each.
    struct Hesitant<'a>(&'a [u8], bool);

    impl io::Read for Hesitant<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(&mut into[..1]) }
        }
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_whole() {
        let mut from = BufReader::new(Hesitant(b"ab\r\n\nabcdef\ncd", false));
        let mut lines = Lines::default();
        let (mut all, mut waits) = (Vec::new(), 0);
        loop {
            match lines.next(&mut from, 4) {
                Ok(None) => break,
                Ok(Some(line)) => all.push((line == Line::Whole).then(|| lines.line().to_vec())),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    waits += 1;
                }
            }
        }
        assert_eq!(all, [Some(b"ab".to_vec()), Some(vec![]), None, Some(b"cd".to_vec())]);
        assert!(waits > 14, "{waits}");
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(input in "[ab\r\n]{0,40}", chunk in 1usize..9, limit in 0usize..9) {
            let whole = lines(input.as_bytes(), 1024, limit);
            prop_assert_eq!(&lines(input.as_bytes(), chunk, limit), &whole);
            for line in whole.into_iter().flatten() {
                prop_assert!(line.len() <= limit);
            }
        }
    }
}
