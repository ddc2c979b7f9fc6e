//! Lines of bounded length out of any reader.

use std::io::{self, BufRead};

/// One line, without its line ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It stands in the buffer.
    Whole,
    /// It was longer than the limit, and was read past.
    TooLong,
}

/// Reads the next line into `buffer`, which holds `limit` bytes at most. LF and CRLF end a line, and so does the end of the
/// input; `None` if there is none left.
pub(super) fn read_line(from: &mut impl BufRead, buffer: &mut Vec<u8>, limit: usize) -> io::Result<Option<Line>> {
    buffer.clear();
    let mut any = false;
    let mut too_long = false;
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            break;
        }
        any = true;
        let newline = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..newline.unwrap_or(chunk.len())];
        // One byte more than the limit: it may be the CR.
        too_long = too_long || buffer.len() + part.len() > limit + 1;
        if !too_long {
            buffer.extend_from_slice(part);
        }
        let used = part.len() + usize::from(newline.is_some());
        from.consume(used);
        if newline.is_some() {
            break;
        }
    }
    if buffer.last() == Some(&b'\r') {
        buffer.pop();
    }
    too_long = too_long || buffer.len() > limit;
    Ok(any.then_some(if too_long { Line::TooLong } else { Line::Whole }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn lines(input: &[u8], chunk: usize, limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut from = BufReader::with_capacity(chunk, input);
        let mut buffer = Vec::new();
        let mut all = Vec::new();
        while let Some(line) = read_line(&mut from, &mut buffer, limit).unwrap() {
            all.push((line == Line::Whole).then(|| buffer.clone()));
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
