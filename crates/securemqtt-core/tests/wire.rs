//! Malformed messages of every kind: each has its own error, none panics, and none is repaired.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use securemqtt_core::kdf::AckKey;
use securemqtt_core::primitives::{AeadKey, NotAuthentic, TAG_LEN, parse_point};
use securemqtt_core::ranges::RangeSet;
use securemqtt_core::stream::StreamGrant;
use securemqtt_core::wire::*;
use zeroize::Zeroizing;

#[path = "../src/vectors.rs"]
mod file;
use file::Vectors;

type Decode = fn(&[u8]) -> Result<(), WireError>;

/// Every kind: a section with a message of it, and its decoder.
const KINDS: [(&str, Kind, Decode); 11] = [
    ("hello", Kind::Hello, |bytes| Hello::decode(bytes).map(drop)),
    ("request", Kind::Request, |bytes| Request::decode(bytes).map(drop)),
    ("retry", Kind::Retry, |bytes| Retry::decode(bytes).map(drop)),
    ("grant", Kind::Grant, |bytes| Grant::decode(bytes).map(drop)),
    ("confirm", Kind::Ack, |bytes| Ack::decode(bytes).map(drop)),
    ("keys 1", Kind::Keys, |bytes| Keys::decode(bytes).map(drop)),
    ("frame 300", Kind::Frame, |bytes| FrameHeader::decode(bytes).map(drop)),
    ("batch 1", Kind::Batch, |bytes| FrameHeader::decode(bytes).map(drop)),
    ("tick 2", Kind::Tick, |bytes| FrameHeader::decode(bytes).map(drop)),
    ("report", Kind::Report, |bytes| Report::decode(bytes).map(drop)),
    ("receipt", Kind::Receipt, |bytes| Receipt::decode(bytes).map(drop)),
];

/// The story that has a section.
fn story(section: &str) -> Vectors {
    if ["report", "probe", "receipt"].contains(&section) { Vectors::repair() } else { Vectors::session() }
}

fn message(section: &str) -> Vec<u8> {
    story(section).hex(section, "message")
}

/// The key of a story's session.
fn session_key(vectors: &Vectors) -> AckKey {
    AckKey::new(Zeroizing::new(vectors.array("split", "ka")))
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
        for unknown in [0, 12, 13, 14, 15] {
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
    assert_eq!(Report::decode(&[message("probe"), vec![0]].concat()), Err(WireError::Oversized));
    for section in ["hello", "confirm", "keys 1", "report", "receipt"] {
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
    let mut bytes = story(section).hex(section, field);
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
    assert!(!body.report_wanted && !body.last);
    for (flags, report_wanted, last) in [(1, true, false), (2, false, true), (3, true, true)] {
        let flagged = TickBody { report_wanted, last, ..body.clone() };
        assert_eq!(tick(&[(0, flags)]), Ok(flagged.clone()), "flags {flags}");
        assert_eq!(flagged.encode()[0], flags);
    }
    assert_eq!(tick(&[(0, 4)]), Err(WireError::Range), "an unknown flag");
    assert_eq!(tick(&[(40, b'#')]), Err(WireError::Text), "a topic that cannot be published to");
    let none = TickBody { runs: Vec::new(), ..body.clone() };
    assert_eq!(decode(&[&none.encode()[..], &[0; 64]].concat()), Err(WireError::Range), "no run");
    for (from, first_kept, is_allowed) in [(6, 0, false), (0, 6, false), (5, 5, true), (0, 5, true), (5, 0, true)] {
        let mut other = body.clone();
        let topic = &mut other.runs[0].topics[0];
        (topic.from, topic.first_kept, topic.next) = (from, first_kept, 5);
        let expected = if is_allowed { Ok(other.clone()) } else { Err(WireError::Range) };
        assert_eq!(decode(&[&other.encode()[..], &[0; 64]].concat()), expected, "from {from}, kept {first_kept}");
    }
}

/// A report about one topic that stands at 10.
fn report_of(missing: &[(u32, u32)]) -> Report {
    let topic = TopicReport { run: [7; 5], topic: topic_hash("a/b"), next: 10, missing: missing.to_vec() };
    Report { sid: [8; 8], sctr: 9, topics: vec![topic] }
}

#[test]
fn the_ranges_of_a_report_rise_and_lie_apart_below_next() {
    let ka = AckKey::new(Zeroizing::new([1; 32]));
    let good: [&[(u32, u32)]; 5] = [&[], &[(0, 1)], &[(9, 10)], &[(0, 10)], &[(0, 2), (3, 4), (5, 10)]];
    for missing in good {
        let report = report_of(missing);
        assert_eq!(Report::decode(&report.seal(&ka)), Ok(report), "{missing:?}");
    }
    let bad: [(&[(u32, u32)], &str); 8] = [
        (&[(3, 3)], "empty"),
        (&[(4, 3)], "backwards"),
        (&[(9, 11)], "above next"),
        (&[(11, 12)], "all above next"),
        (&[(5, 6), (1, 2)], "falling"),
        (&[(1, 4), (3, 6)], "overlapping"),
        (&[(1, 2), (1, 2)], "twice the same"),
        (&[(1, 3), (3, 5)], "one range in two parts"),
    ];
    for (missing, why) in bad {
        assert_eq!(Report::decode(&report_of(missing).seal(&ka)), Err(WireError::Range), "{why}");
    }
    // Each topic's ranges are its own.
    let twice =
        Report { topics: [report_of(&[(5, 6)]).topics, report_of(&[(1, 2)]).topics].concat(), ..report_of(&[]) };
    assert_eq!(Report::decode(&twice.seal(&ka)), Ok(twice));
}

#[test]
fn a_report_counts_its_topics_and_ranges() {
    let report = |patches: &[(usize, u8)]| Report::decode(&patched("report", "message", patches)).unwrap_err();
    assert_eq!(message("report")[17], 2, "n");
    assert_eq!(report(&[(17, 1)]), WireError::Oversized, "a topic more than it says");
    assert_eq!(report(&[(17, 3)]), WireError::Truncated, "a topic fewer than it says");
    assert_eq!(message("report")[35..37], [0, 2], "m");
    assert_eq!(report(&[(36, 3)]), WireError::Range, "a range fewer than it says: the next topic is read as one");
    assert_eq!(report(&[(36, 1)]), WireError::Range, "a range more than it says: it is read as a topic");
}

#[test]
fn a_report_has_at_most_8_kib_and_255_topics() {
    let ka = AckKey::new(Zeroizing::new([1; 32]));
    let ranges = |count: u32| (0..count).map(|n| (2 * n, 2 * n + 1)).collect::<Vec<_>>();
    let full = |first, second| {
        let mut report = Report { topics: [report_of(&[]).topics, report_of(&[]).topics].concat(), ..report_of(&[]) };
        for (topic, count) in report.topics.iter_mut().zip([first, second]) {
            (topic.next, topic.missing) = (u32::MAX, ranges(count));
        }
        report
    };
    let longest = full(1_000, 15);
    assert_eq!(longest.seal(&ka).len(), MAX_REPORT_LEN);
    assert_eq!(Report::FIXED_LEN + TopicReport::encoded_len(1_000) + TopicReport::encoded_len(15), MAX_REPORT_LEN);
    assert_eq!(Report::decode(&longest.seal(&ka)), Ok(longest));
    assert_eq!(Report::decode(&full(1_000, 16).seal(&ka)), Err(WireError::Oversized));

    let crowded = Report { topics: vec![report_of(&[(2, 3)]).topics.remove(0); 256], ..report_of(&[]) };
    let sealed = crowded.seal(&ka);
    assert_eq!(Report::verify(&sealed, &ka), Ok(()), "what does not fit is left out before the tag is made");
    assert_eq!(Report::decode(&sealed).unwrap().topics, crowded.topics[..MAX_REPORT_TOPICS]);
}

/// Whether bytes are a genuine message of this kind, in the order in which an engine asks.
fn is_genuine(kind: Kind, bytes: &[u8], ka: &AckKey) -> bool {
    match kind {
        Kind::Ack => Ack::decode(bytes).is_ok() && Ack::verify(bytes, ka).is_ok(),
        Kind::Report => Report::decode(bytes).is_ok() && Report::verify(bytes, ka).is_ok(),
        Kind::Receipt => Receipt::decode(bytes).is_ok() && Receipt::verify(bytes, ka).is_ok(),
        other => panic!("{other:?} has no tag"),
    }
}

/// Every message with a tag: an ACK, a REPORT and a RECEIPT.
const TAGGED: [(&str, Kind); 4] =
    [("confirm", Kind::Ack), ("report", Kind::Report), ("probe", Kind::Report), ("receipt", Kind::Receipt)];

#[test]
fn a_tag_holds_for_one_message_under_one_sessions_key() {
    for (section, kind) in TAGGED {
        let bytes = message(section);
        let (ka, other) = (session_key(&story(section)), AckKey::new(Zeroizing::new([1; 32])));
        assert!(is_genuine(kind, &bytes, &ka), "{section}");
        assert!(!is_genuine(kind, &bytes, &other), "{section} under another session's key");
        for bit in 0..8 * bytes.len() {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_genuine(kind, &wrong, &ka), "{section} with bit {bit} flipped");
        }
    }
    let ka = session_key(&Vectors::repair());
    for len in 0..TAG_LEN {
        let short = vec![0; len];
        assert_eq!(Report::verify(&short, &ka), Err(NotAuthentic));
        assert_eq!(Receipt::verify(&short, &ka), Err(NotAuthentic));
    }
}

/// ACK, REPORT and RECEIPT share a key: no one of them, and no part of one, passes as another.
#[test]
fn a_tagged_message_is_of_its_kind_only() {
    let vectors = Vectors::repair();
    let (ka, sid) = (session_key(&vectors), vectors.array("split", "sid"));
    let sealed = |kind| match kind {
        Kind::Ack => Ack { sid, idx: 0, sctr: 5 }.seal(&ka),
        Kind::Receipt => Receipt { sid, sctr: 5 }.seal(&ka),
        _ => Report { sid, sctr: 5, topics: Vec::new() }.seal(&ka),
    };
    let kinds = [Kind::Ack, Kind::Report, Kind::Receipt];
    for kind in kinds {
        assert!(is_genuine(kind, &sealed(kind), &ka));
        for other in kinds.into_iter().filter(|&other| other != kind) {
            let theirs = sealed(other);
            assert!(!is_genuine(kind, &theirs, &ka), "{other:?} as {kind:?}");
            // Under the type byte of the one, with the tag of the other, and cut or filled to the length of the one.
            let (body, tag) = theirs.split_at(theirs.len() - TAG_LEN);
            let mut forged = body.to_vec();
            forged[0] = kind.type_byte();
            forged.resize(sealed(kind).len() - TAG_LEN, 0);
            forged.extend_from_slice(tag);
            assert_eq!(KINDS.iter().find(|row| row.1 == kind).unwrap().2(&forged), Ok(()), "{other:?} as {kind:?}");
            assert!(!is_genuine(kind, &forged, &ka), "{other:?} relabelled as {kind:?}");
        }
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
    fn no_bytes_make_a_decoder_panic(kind in 0..KINDS.len(), tail in proptest::collection::vec(any::<u8>(), 0..300)) {
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
    fn a_flipped_bit_is_an_error_or_another_message(
        kind in 0..KINDS.len(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (section, kind, _) = KINDS[kind];
        let ka = session_key(&story(section));
        let mut bytes = message(section);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        match kind {
            Kind::Hello => if let Ok(hello) = Hello::decode(&bytes) { prop_assert_eq!(hello.encode(), bytes) },
            Kind::Retry => if let Ok(retry) = Retry::decode(&bytes) { prop_assert_eq!(retry.encode(), bytes) },
            Kind::Keys => if let Ok(keys) = Keys::decode(&bytes) { prop_assert_eq!(keys.encode(), bytes) },
            Kind::Ack => if let Ok(ack) = Ack::decode(&bytes) { untagged_eq(&ack.seal(&ka), &bytes)? },
            Kind::Report => if let Ok(report) = Report::decode(&bytes) { untagged_eq(&report.seal(&ka), &bytes)? },
            Kind::Receipt => if let Ok(receipt) = Receipt::decode(&bytes) { untagged_eq(&receipt.seal(&ka), &bytes)? },
            Kind::Frame | Kind::Batch | Kind::Tick => if let Ok((header, length, _)) = FrameHeader::decode(&bytes) {
                let mut encoded = Vec::new();
                header.encode_into(&mut encoded);
                prop_assert_eq!(&encoded[..], &bytes[..length]);
            },
            // The engines check those by opening them.
            Kind::Request | Kind::Grant => {}
        }
    }

    /// Whatever the topics and ranges: a report reads back if its ranges are what a set of them holds, else not at all.
    #[test]
    fn a_report_reads_back_exactly_if_its_ranges_are_a_set(
        topics in prop::collection::vec(
            (any::<[u8; 5]>(), any::<[u8; 8]>(), 0u32..40, prop::collection::vec((0u32..40, 0u32..5), 0..5), any::<bool>()),
            0..5,
        ),
        sid: [u8; 8],
        sctr: u64,
    ) {
        let ka = AckKey::new(Zeroizing::new([2; 32]));
        let set = |ranges: &[(u32, u32)]| {
            let mut set = RangeSet::default();
            for &(from, to) in ranges {
                set.insert(from, to);
            }
            set
        };
        let topics: Vec<TopicReport> = topics.into_iter().map(|(run, topic, next, ranges, tidy)| {
            let ranges: Vec<_> = ranges.into_iter().map(|(from, count)| (from, from + count)).collect();
            // As likely well formed as not.
            let (next, missing) = if tidy {
                let tidied = set(&ranges);
                (next.max(tidied.end()), tidied.ranges().to_vec())
            } else {
                (next, ranges)
            };
            TopicReport { run, topic, next, missing }
        }).collect();
        let is_well_formed = topics.iter().all(|topic| {
            let set = set(&topic.missing);
            set.ranges() == topic.missing && set.end() <= topic.next
        });
        let report = Report { sid, sctr, topics };
        let sealed = report.seal(&ka);
        prop_assert_eq!(Report::verify(&sealed, &ka), Ok(()));
        prop_assert_eq!(Report::decode(&sealed), if is_well_formed { Ok(report) } else { Err(WireError::Range) });
    }

    /// The answer to it, likewise.
    #[test]
    fn a_receipt_reads_back(sid: [u8; 8], sctr: u64, key: [u8; 32]) {
        let (ka, receipt) = (AckKey::new(Zeroizing::new(key)), Receipt { sid, sctr });
        let sealed = receipt.seal(&ka);
        prop_assert_eq!(sealed.len(), RECEIPT_LEN);
        prop_assert_eq!(Receipt::verify(&sealed, &ka), Ok(()));
        prop_assert_eq!(Receipt::decode(&sealed), Ok(receipt));
    }
}

/// Whether two messages are equal but for their tags.
fn untagged_eq(a: &[u8], b: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len());
    prop_assert_eq!(&a[..a.len() - TAG_LEN], &b[..b.len() - TAG_LEN]);
    Ok(())
}
