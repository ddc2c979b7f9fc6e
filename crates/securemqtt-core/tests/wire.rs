//! Malformed messages of every kind: each has its own error, none panics, and none is repaired.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use securemqtt_core::primitives::{AeadKey, parse_point};
use securemqtt_core::stream::StreamGrant;
use securemqtt_core::wire::*;

#[path = "../src/vectors.rs"]
mod file;
use file::Vectors;

type Decode = fn(&[u8]) -> Result<(), WireError>;

/// Every kind: a section with a message of it, and its decoder.
const KINDS: [(&str, Kind, Decode); 9] = [
    ("hello", Kind::Hello, |bytes| Hello::decode(bytes).map(drop)),
    ("request", Kind::Request, |bytes| Request::decode(bytes).map(drop)),
    ("retry", Kind::Retry, |bytes| Retry::decode(bytes).map(drop)),
    ("grant", Kind::Grant, |bytes| Grant::decode(bytes).map(drop)),
    ("confirm", Kind::Ack, |bytes| Ack::decode(bytes).map(drop)),
    ("keys 1", Kind::Keys, |bytes| Keys::decode(bytes).map(drop)),
    ("frame 300", Kind::Frame, |bytes| FrameHeader::decode(bytes).map(drop)),
    ("batch 1", Kind::Batch, |bytes| FrameHeader::decode(bytes).map(drop)),
    ("tick 2", Kind::Tick, |bytes| FrameHeader::decode(bytes).map(drop)),
];

fn message(section: &str) -> Vec<u8> {
    Vectors::session().hex(section, "message")
}

#[test]
fn a_message_cut_anywhere_is_truncated_or_does_not_verify() {
    for (section, kind, decode) in KINDS {
        let whole = message(section);
        assert_eq!(decode(&whole), Ok(()), "{section}");
        // Up to here the length is fixed; a longer cut only shortens a sealed part, whose tag then fails.
        let fixed = match kind {
            Kind::Hello | Kind::Ack | Kind::Keys | Kind::Report | Kind::Receipt => whole.len(),
            Kind::Request => 26 + 33 + 49 + (8 + 1 + 1 + 2 + 16) + 16,
            Kind::Retry => 1 + 8,
            Kind::Grant => 9 + 33 + 9 + 16,
            Kind::Frame => 1 + 5 + 1 + 2 + 16,
            Kind::Batch | Kind::Tick => 1 + 5 + 1 + 1 + 16,
        };
        for cut in 0..fixed {
            assert_eq!(decode(&whole[..cut]), Err(WireError::Truncated), "{section} cut to {cut}");
        }
        if matches!(kind, Kind::Frame | Kind::Batch | Kind::Tick) {
            let vectors = Vectors::session();
            let key = AeadKey::new(&vectors.array(section, "key"));
            for cut in fixed..=whole.len() {
                let (header, _, sealed) = FrameHeader::decode(&whole[..cut]).unwrap();
                let opened = key.open(u64::from(header.seq), &vectors.hex(section, "aad"), sealed);
                assert_eq!(opened.is_ok(), cut == whole.len(), "{section} cut to {cut}");
            }
        }
    }
}

#[test]
fn other_versions_and_kinds_are_named() {
    for (section, kind, decode) in KINDS {
        let mut bytes = message(section);
        assert_eq!(bytes[0], kind.type_byte());
        for version in (0..16).filter(|&version| version != VERSION) {
            bytes[0] = version << 4 | kind as u8;
            assert_eq!(decode(&bytes), Err(WireError::Version(version)), "{section}");
        }
        for unknown in [0, 10, 11, 12, 13, 14, 15] {
            bytes[0] = VERSION << 4 | unknown;
            assert_eq!(decode(&bytes), Err(WireError::Kind(unknown)), "{section}");
        }
        for (other_section, other, _) in KINDS {
            let shares_a_header = |kind| matches!(kind, Kind::Frame | Kind::Batch | Kind::Tick);
            if other != kind && !(shares_a_header(kind) && shares_a_header(other)) {
                assert_eq!(decode(&message(other_section)), Err(WireError::Kind(other as u8)), "{section}");
            }
        }
    }
}

#[test]
fn a_message_that_goes_on_is_oversized() {
    for section in ["hello", "confirm", "keys 1"] {
        let bytes = [message(section), vec![0]].concat();
        let (_, _, decode) = KINDS.into_iter().find(|(name, ..)| *name == section).unwrap();
        assert_eq!(decode(&bytes), Err(WireError::Oversized), "{section}");
    }
    assert_eq!(Grant::decode(&[message("grant"), vec![0]].concat()), Err(WireError::Oversized));
    let longest = 26 + 33 + 49 + (8 + 1 + 64 + 2 + 1024 + 16) + 16;
    let mut request = message("request");
    request.resize(longest, 0);
    assert!(Request::decode(&request).is_ok());
    request.push(0);
    assert_eq!(Request::decode(&request), Err(WireError::Oversized));

    let payloads: [(&str, &str, Decode); 4] = [
        ("request", "payload", |bytes| RequestPayload::decode(bytes).map(drop)),
        ("grant", "payload", |bytes| GrantPayload::decode(bytes).map(drop)),
        ("refusal", "payload", |bytes| GrantPayload::decode(bytes).map(drop)),
        ("stream 1", "encoding", |bytes| StreamGrant::decode(bytes).map(drop)),
    ];
    let entries: [(&str, &str, Decode); 2] = [
        ("keys 1", "payload", |bytes| EntryPayload::decode(bytes).map(drop)),
        ("keys 3", "payload", |bytes| EntryPayload::decode(bytes).map(drop)),
    ];
    for (section, field, decode) in payloads.into_iter().chain(entries) {
        let bytes = Vectors::session().hex(section, field);
        assert_eq!(decode(&bytes), Ok(()), "{section}");
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(WireError::Oversized), "{section}");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err(WireError::Truncated), "{section} cut to {cut}");
        }
    }
}

/// The message of a section with some bytes replaced.
fn patched(section: &str, field: &str, patches: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = Vectors::session().hex(section, field);
    for &(at, byte) in patches {
        bytes[at] = byte;
    }
    bytes
}

#[test]
fn hello_and_request_are_checked_part_by_part() {
    let decoded = Hello::decode(&message("hello")).unwrap();
    assert_eq!(decoded.name.as_str(), Vectors::session().text("hello", "name"));
    let hello = |patches: &[(usize, u8)]| Hello::decode(&patched("hello", "message", patches)).unwrap_err();
    assert_eq!(hello(&[(1, 0)]), WireError::Range, "no suite");
    assert_eq!(hello(&[(1, 17)]), WireError::Range, "17 suites");
    for prefix in [0, 1, 4, 5, 6, 7, 0xff] {
        assert_eq!(hello(&[(3, prefix)]), WireError::Point, "prefix {prefix}");
    }
    assert_eq!(hello(&[(53, 0x1b)]), WireError::Text, "a control character in the name");
    assert_eq!(hello(&[(53, 0xff)]), WireError::Text, "a name that is not UTF-8");

    let request = patched("request", "message", &[(1, 2)]);
    assert_eq!(Request::decode(&request), Err(WireError::Suite(2)));
    let payload =
        |patches: &[(usize, u8)]| RequestPayload::decode(&patched("request", "payload", patches)).unwrap_err();
    assert_eq!(payload(&[(9, b'/')]), WireError::Text);
    let last = Vectors::session().hex("request", "payload").len() - 1;
    assert_eq!(payload(&[(last - 1, 4), (last, 1)]), WireError::Range, "a credential of 1,025 bytes");
    assert_eq!(payload(&[(last, 1)]), WireError::Truncated);
}

#[test]
fn streams_statuses_and_entries_are_checked_part_by_part() {
    let stream = |patches: &[(usize, u8)]| StreamGrant::decode(&patched("stream 1", "encoding", patches)).unwrap_err();
    assert_eq!(stream(&[(0, 2)]), WireError::Range, "an unknown flag");
    assert_eq!(stream(&[(38, 5)]), WireError::Point);
    let refusal = |code| GrantPayload::decode(&patched("refusal", "payload", &[(0, code)]));
    for code in 1..=6 {
        assert!(matches!(refusal(code), Ok(GrantPayload::Refused { status, .. }) if status as u8 == code));
    }
    assert!(matches!(refusal(7), Err(WireError::Range)));
    assert!(matches!(refusal(0), Err(WireError::Truncated)), "a grant without its stream");
    let entry = |patches: &[(usize, u8)]| EntryPayload::decode(&patched("keys 3", "payload", patches)).unwrap_err();
    assert_eq!(entry(&[(0, 0)]), WireError::Range);
    assert_eq!(entry(&[(0, 3)]), WireError::Range);
    assert_eq!(entry(&[(1, 0)]), WireError::Range);
}

#[test]
fn keys_are_checked_part_by_part() {
    let keys = |patches: &[(usize, u8)]| Keys::decode(&patched("keys 1", "message", patches)).unwrap_err();
    assert_eq!(keys(&[(9, 65)]), WireError::Range, "65 entries");
    assert_eq!(keys(&[(13, 0)]), WireError::Range, "entry 0");
    assert_eq!(keys(&[(31, 16)]), WireError::Range, "an entry shorter than a kind and a tag");
    assert_eq!(keys(&[(31, 89)]), WireError::Range, "an entry longer than a stream");
    let entry = Keys::decode(&message("keys 1")).unwrap().entries.remove(0);
    let twice = Keys { sid: [0; 8], entries: vec![entry.clone(), entry.clone()] };
    assert_eq!(Keys::decode(&twice.encode()), Err(WireError::Range), "indices must rise");
    let next = Entry { idx: 7, ..entry.clone() };
    let rising = Keys { sid: [0; 8], entries: vec![entry, next] };
    assert_eq!(Keys::decode(&rising.encode()), Ok(rising));
}

#[test]
fn frames_and_batches_are_checked_part_by_part() {
    let frame = |patches: &[(usize, u8)]| FrameHeader::decode(&patched("frame 300", "message", patches)).unwrap_err();
    assert_eq!(frame(&[(8, 0)]), WireError::Varint, "300 with a zero on top");
    assert_eq!(frame(&[(8, 0xff), (9, 0xff), (10, 0xff), (11, 0xff)]), WireError::Varint, "over 2^32");
    assert_eq!(batch_readings(&[]), Err(WireError::Truncated), "an empty batch");
    assert_eq!(batch_readings(&[2, 7]), Err(WireError::Truncated));
    assert_eq!(batch_readings(&[0x80, 0]), Err(WireError::Varint));
    assert_eq!(batch_readings(&[0, 1, 7]), Ok(vec![&[][..], &[7]]));
}

#[test]
fn ticks_are_checked_part_by_part() {
    let decode = |bytes: &[u8]| TickBody::decode(bytes).map(|(_, body, _)| body);
    let plain = Vectors::session().hex("tick 2", "plaintext");
    let body = decode(&plain).unwrap();
    assert_eq!(body.encode(), Vectors::session().hex("tick 2", "body"));
    for cut in 0..plain.len() {
        assert_eq!(decode(&plain[..cut]), Err(WireError::Truncated), "cut to {cut}");
    }
    assert_eq!(decode(&[&body.encode()[..], &[0; 65]].concat()), Err(WireError::Oversized));
    let tick = |patches: &[(usize, u8)]| decode(&patched("tick 2", "plaintext", patches));
    assert_eq!(tick(&[(0, 1)]), Ok(body.clone()), "the wish for a report is read and has no effect yet");
    assert!(tick(&[(0, 2)]).unwrap().last);
    assert_eq!(tick(&[(0, 4)]), Err(WireError::Range), "an unknown flag");
    assert_eq!(tick(&[(40, b'#')]), Err(WireError::Text), "a topic that cannot be published to");
    let none = TickBody { runs: Vec::new(), ..body.clone() };
    assert_eq!(decode(&[&none.encode()[..], &[0; 64]].concat()), Err(WireError::Range), "no run");
    for (from, first_kept) in [(6, 0), (0, 6)] {
        let mut wrong = body.clone();
        let topic = &mut wrong.runs[0].topics[0];
        (topic.from, topic.first_kept, topic.next) = (from, first_kept, 5);
        assert_eq!(decode(&[&wrong.encode()[..], &[0; 64]].concat()), Err(WireError::Range));
    }
}

#[test]
fn points_are_33_bytes_on_the_curve() {
    let point = Vectors::session().hex("identities", "P_public");
    assert!(parse_point(&point).is_ok());
    for prefix in (0..=255).filter(|prefix| ![2, 3].contains(prefix)) {
        assert!(parse_point(&[&[prefix], &point[1..]].concat()).is_err(), "prefix {prefix}");
    }
    assert!(parse_point(&point[..32]).is_err());
    assert!(parse_point(&[&point[..], &[0]].concat()).is_err());
    assert!(parse_point(&[&[2], &[0xff; 32][..]].concat()).is_err(), "not below the field's prime");
    assert!(parse_point(&[0]).is_err(), "the identity");
}

proptest! {
    /// Whatever arrives, decoders return.
    #[test]
    fn no_bytes_make_a_decoder_panic(kind in 0usize..9, tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, kind, decode) = KINDS[kind];
        let bytes = [&[kind.type_byte()], &tail[..]].concat();
        let _ = decode(&bytes);
        let _ = TickBody::decode(&tail);
        let _ = batch_readings(&tail);
        let _ = RequestPayload::decode(&tail);
        let _ = GrantPayload::decode(&tail);
        let _ = EntryPayload::decode(&tail);
    }

    /// What decodes encodes to the same bytes: there is one spelling of a message.
    #[test]
    fn a_flipped_bit_is_an_error_or_another_message(kind in 0usize..6, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (section, kind, _) = KINDS[kind];
        let mut bytes = message(section);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        match kind {
            Kind::Hello => if let Ok(hello) = Hello::decode(&bytes) { prop_assert_eq!(hello.encode(), bytes) },
            Kind::Retry => if let Ok(retry) = Retry::decode(&bytes) { prop_assert_eq!(retry.encode(), bytes) },
            Kind::Keys => if let Ok(keys) = Keys::decode(&bytes) { prop_assert_eq!(keys.encode(), bytes) },
            _ => {}
        }
    }
}
