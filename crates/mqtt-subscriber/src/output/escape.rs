//! Text from elsewhere, made safe for a terminal: an escape sequence in a reading must not act.

use std::fmt::Write;

/// The text with control characters, direction marks and bytes that are not UTF-8 written out, as in `\n`, `\u{1b}` or
/// `\xff`. Backslashes stay single, so that JSON is shown as it is.
pub(super) fn for_terminal(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if acts(char) {
                safe.extend(char.escape_default());
            } else {
                safe.push(char);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(safe, "\\x{byte:02x}");
        }
    }
    safe
}

/// Whether a terminal may do something else than draw it.
fn acts(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_written_out() {
        assert_eq!(for_terminal(b"\x1b[2Jhi\r\n\x07"), r"\u{1b}[2Jhi\r\n\u{7}");
        assert_eq!(for_terminal("\u{9b}31m\u{202e}x".as_bytes()), r"\u{9b}31m\u{202e}x");
        assert_eq!(for_terminal(b"a\xffb"), r"a\xffb");
        assert_eq!(for_terminal("{\"a\": \"\\n\u{b5}\"}".as_bytes()), "{\"a\": \"\\nµ\"}");
    }

    proptest! {
        #[test]
        fn no_control_character_comes_through(bytes: Vec<u8>) {
            prop_assert!(!for_terminal(&bytes).chars().any(char::is_control));
        }
    }
}
