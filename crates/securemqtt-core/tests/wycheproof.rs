//! Project Wycheproof against the primitives as the protocol calls them: `securemqtt_core::primitives`, nothing beneath.
//!
//! Every count of vectors is asserted, so that an update of the vectors cannot silently shrink what is tested.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use securemqtt_core::primitives::{AeadKey, diffie_hellman, hkdf_expand_into, hkdf_extract, parse_point};
use wycheproof::TestResult;
use wycheproof::{aead, ecdh, hkdf};

/// The scalar of a vector: big-endian, with or without leading zeros.
fn scalar(bytes: &[u8]) -> SecretKey {
    let significant = bytes.iter().position(|&byte| byte != 0).map_or(&[][..], |at| &bytes[at..]);
    let mut padded = [0; 32];
    padded[32 - significant.len()..].copy_from_slice(significant);
    SecretKey::from_slice(&padded).unwrap()
}

/// A point in the one form that the protocol takes: 33 bytes.
fn compress(point: &PublicKey) -> Vec<u8> {
    point.to_sec1_point(true).as_bytes().to_vec()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct PointCounts {
    /// Agreements computed from a compressed form of a valid 65-byte point.
    recompressed: usize,
    /// Agreements computed from 33 bytes as they are in the vector.
    compressed: usize,
    /// Points that are on no curve of ours, of whatever length.
    invalid: usize,
}

#[test]
fn ecdh_p256() {
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let mut counts = PointCounts::default();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let case = format!("tcId {}: {}", test.tc_id, test.comment);
        if test.public_key.len() != 33 {
            assert!(parse_point(&test.public_key).is_err(), "the protocol takes 33 bytes only; {case}");
        }
        if test.result == TestResult::Invalid {
            assert!(parse_point(&test.public_key).is_err(), "{case}");
            assert!(PublicKey::from_sec1_bytes(&test.public_key).is_err(), "{case}");
            counts.invalid += 1;
            continue;
        }
        let wire = if test.public_key.len() == 33 {
            counts.compressed += 1;
            test.public_key.to_vec()
        } else {
            counts.recompressed += 1;
            compress(&PublicKey::from_sec1_bytes(&test.public_key).expect(&case))
        };
        let point = parse_point(&wire).expect(&case);
        assert_eq!(&*diffie_hellman(&scalar(&test.private_key), &point), &test.shared_secret[..], "{case}");
    }
    let expected = PointCounts { recompressed: 330, compressed: 1, invalid: 24 };
    assert_eq!(counts, expected);
}

#[test]
fn aes_128_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let ours = |group: &&aead::TestGroup| group.key_size == 128 && group.nonce_size == 96 && group.tag_size == 128;
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().filter(ours).flat_map(|group| &group.tests) {
        let case = format!("tcId {}: {}", test.tc_id, test.comment);
        let key_iv: [u8; 28] = [&test.key[..], &test.nonce[..]].concat().try_into().unwrap();
        let key = AeadKey::new(&key_iv);
        let sealed = [&test.ct[..], &test.tag[..]].concat();

        // In the middle of a buffer, as a frame is sealed behind its header.
        let mut buffer = [b"header", &test.pt[..]].concat();
        key.seal(0, &test.aad, &mut buffer, 6).unwrap();
        assert_eq!(&buffer[..6], b"header");
        if test.result == TestResult::Invalid {
            assert!(key.open(0, &test.aad, &sealed).is_err(), "{case}");
            assert_ne!(&buffer[6..], sealed, "{case}");
            invalid += 1;
        } else {
            assert_eq!(&buffer[6..], sealed, "{case}");
            assert_eq!(key.open(0, &test.aad, &sealed).expect(&case), &test.pt[..], "{case}");
            // The nonce of message 1 is another.
            assert!(key.open(1, &test.aad, &sealed).is_err(), "{case}");
            valid += 1;
        }
    }
    assert_eq!((valid, invalid), (40, 27));
}

#[test]
fn hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let case = format!("tcId {}: {}", test.tc_id, test.comment);
        let prk = hkdf_extract(&test.salt, &test.ikm);
        let mut okm = vec![0; test.size];
        // In two parts, as the protocol hands over label and context.
        let (label, context) = test.info.split_at(test.info.len() / 2);
        let result = hkdf_expand_into(&prk, &[label, context], &mut okm);
        if test.result == TestResult::Invalid {
            assert!(result.is_err(), "{case}");
            invalid += 1;
        } else {
            result.expect(&case);
            assert_eq!(okm, &test.okm[..], "{case}");
            valid += 1;
        }
    }
    assert_eq!((valid, invalid), (83, 3));
}
