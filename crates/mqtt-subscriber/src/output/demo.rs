//! `--output demo`: for people.

use super::Record;
use super::escape::for_terminal;

/// `[Decrypted] <payload> (Decryption Time: 0.41 µs)`, with the topic in front of the payload if `verbose`.
pub(super) fn line(record: &Record, verbose: bool) -> String {
    let payload = for_terminal(&record.payload);
    let time = record.decrypt_us();
    if verbose {
        let topic = for_terminal(record.topic.as_bytes());
        return format!("[Decrypted] {topic} {payload} (Decryption Time: {time:.2} µs)");
    }
    format!("[Decrypted] {payload} (Decryption Time: {time:.2} µs)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture::record;

    #[test]
    fn the_line_of_the_demo() {
        let record = record(br#"{"patient_id": 101}"#);
        assert_eq!(line(&record, false), r#"[Decrypted] {"patient_id": 101} (Decryption Time: 0.41 µs)"#);
        assert_eq!(
            line(&record, true),
            r#"[Decrypted] telemetry/ward-7 {"patient_id": 101} (Decryption Time: 0.41 µs)"#
        );
    }

    #[test]
    fn a_reading_cannot_forge_a_line() {
        let mut record = record(b"1\n[Decrypted] 2");
        record.topic = "a\x1b[2J".into();
        let line = line(&record, true);
        assert!(!line.chars().any(char::is_control), "{line}");
    }
}
