//! `--output json`: one object a line, whatever the payload is.

use std::fmt::Write;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Gap, Record};

/// Nesting that every parser bears, with the object around it. What is deeper goes in base64.
const MAX_DEPTH: usize = 100;

/// The object of a record, its payload embedded as JSON.
pub(super) fn line(record: &Record) -> String {
    let payload = compact(&record.payload);
    object(record, payload)
}

/// The object of a record, its payload as a JSON string: what mosquitto's `%j` is.
pub(super) fn line_with_text(record: &Record) -> String {
    let text = std::str::from_utf8(&record.payload).ok().map(string);
    object(record, text)
}

/// The object of something that happened to readings rather than of a reading.
pub(super) fn event(gap: &Gap<'_>, at: SystemTime) -> String {
    let run = gap.span.run.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    format!(
        "{{\"event\":\"{}\",\"tst\":\"{}\",\"publisher\":{},\"fingerprint\":\"{}\",\"topic\":{},\"run\":\"{run}\",\
         \"from\":{},\"to\":{},\"count\":{}}}",
        gap.event,
        humantime::format_rfc3339_micros(at),
        string(gap.publisher),
        gap.fingerprint,
        string(&gap.span.topic),
        gap.span.from,
        gap.span.to,
        gap.span.to.saturating_sub(gap.span.from),
    )
}

/// The object of a publisher that has gone silent, or is back.
pub(super) fn pulse(event: &str, publisher: &str, at: SystemTime) -> String {
    let tst = humantime::format_rfc3339_micros(at);
    format!("{{\"event\":\"{event}\",\"tst\":\"{tst}\",\"publisher\":{}}}", string(publisher))
}

fn object(record: &Record, payload: Option<String>) -> String {
    let mut object = format!(
        "{{\"tst\":\"{}\",\"topic\":{},\"qos\":{},\"retain\":{},\"publisher\":{},\"fingerprint\":\"{}\",\
         \"stream\":{},\"seq\":{},\"decrypt_us\":{:.2},",
        humantime::format_rfc3339_micros(record.arrived),
        string(&record.topic),
        record.qos_digit(),
        record.retain,
        string(&record.publisher),
        record.fingerprint,
        record.stream,
        record.seq,
        record.decrypt_us(),
    );
    if record.redelivered {
        object.push_str("\"redelivered\":true,");
    }
    // Writing to a string cannot fail.
    let _ = match payload {
        Some(payload) => write!(object, "\"payload\":{payload}}}"),
        None => write!(object, "\"payload_b64\":\"{}\"}}", STANDARD.encode(&record.payload)),
    };
    object
}

/// A JSON text on one line, otherwise as it was written: numbers keep their digits, objects their order and their duplicate
/// keys. `None` if a parser could stumble over it: bad syntax or encoding, a lone surrogate, a number beyond a double, deep
/// nesting.
fn compact(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    serde_json::from_str::<serde_json::Value>(text).ok()?;
    let mut line = String::with_capacity(text.len());
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for char in text.chars() {
        match char {
            ' ' | '\t' | '\n' | '\r' if !quoted => continue,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return None;
        }
        escaped = quoted && char == '\\' && !escaped;
        push(&mut line, char);
    }
    Some(line)
}

/// JSON allows the control characters from U+007F in a string; a terminal acts on some of them.
fn push(line: &mut String, char: char) {
    if char.is_control() {
        // Writing to a string cannot fail.
        let _ = write!(line, "\\u{:04x}", u32::from(char));
    } else {
        line.push(char);
    }
}

fn string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut safe = String::with_capacity(quoted.len());
    quoted.chars().for_each(|char| push(&mut safe, char));
    safe
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use securemqtt_core::identity::PeerId;
    use securemqtt_core::subscriber::Span;
    use serde_json::Value;

    use super::*;
    use crate::output::fixture::record;

    #[test]
    fn the_object_in_full() {
        let fingerprint = "A".repeat(43);
        let want = format!(
            "{{\"tst\":\"2016-08-10T08:49:03.786368Z\",\"topic\":\"telemetry/ward-7\",\"qos\":1,\"retain\":true,\
             \"publisher\":\"publisher-3fa1\",\"fingerprint\":\"SHA256:{fingerprint}\",\"stream\":7,\"seq\":12,\
             \"decrypt_us\":0.41,\"payload\":{{\"a\":[1.50,\"x y\\\" \\\\\"]}}}}"
        );
        let payload = b"{ \"a\" :\n [1.50,\t\"x y\\\" \\\\\" ] }\r\n";
        assert_eq!(line(&record(payload)), want);
    }

    #[test]
    fn an_event_is_an_object_too() {
        let record = record(b"");
        let span = Span {
            publisher: PeerId::from_bytes([1; 16]),
            topic: "a \"b\"".into(),
            run: [0, 1, 0xab, 3, 4],
            from: 3,
            to: 7,
        };
        let gap = Gap { event: "missing", publisher: "pump", fingerprint: record.fingerprint, span: &span };
        let value: Value = serde_json::from_str(&event(&gap, record.arrived)).unwrap();
        let want = serde_json::json!({
            "event": "missing", "tst": "2016-08-10T08:49:03.786368Z", "publisher": "pump",
            "fingerprint": record.fingerprint.to_string(), "topic": "a \"b\"", "run": "0001ab0304",
            "from": 3, "to": 7, "count": 4,
        });
        assert_eq!(value, want);
        let value: Value = serde_json::from_str(&pulse("silent", "pump", record.arrived)).unwrap();
        assert_eq!((&value["event"], &value["publisher"]), (&"silent".into(), &"pump".into()));
    }

    #[test]
    fn what_is_not_safe_json_goes_in_base64() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        for payload in [&b"hello"[..], b"", b"{} {}", b"\"\xff\"", b"\"\\ud800\"", b"1e400", b"NaN", deep.as_bytes()] {
            let value: Value = serde_json::from_str(&line(&record(payload))).unwrap();
            assert_eq!(value["payload_b64"], STANDARD.encode(payload));
            assert!(value.get("payload").is_none());
        }
    }

    #[test]
    fn text_stays_text() {
        let value: Value = serde_json::from_str(&line_with_text(&record(b"{\"a\": 1}\n"))).unwrap();
        assert_eq!(value["payload"], "{\"a\": 1}\n");
    }

    #[test]
    fn names_and_topics_are_quoted() {
        let mut record = record(b"1");
        record.topic = "a\"\n\u{9b}".into();
        let line = line(&record);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["topic"], "a\"\n\u{9b}");
        assert!(!line.chars().any(char::is_control));
    }

    proptest! {
        #[test]
        fn always_one_line_of_json(payload: Vec<u8>) {
            let line = line(&record(&payload));
            prop_assert!(serde_json::from_str::<Value>(&line).is_ok());
            prop_assert!(!line.contains('\n'));
        }

        #[test]
        fn json_keeps_its_value(text in "(?s)[\\[\\]{}:,\"\\\\a1 \n\u{85}]{0,16}") {
            let line = line(&record(text.as_bytes()));
            let seen: Value = serde_json::from_str(&line).unwrap();
            match serde_json::from_str::<Value>(&text) {
                Ok(sent) => prop_assert_eq!(&seen["payload"], &sent),
                Err(_) => prop_assert!(seen.get("payload").is_none()),
            }
        }
    }
}
