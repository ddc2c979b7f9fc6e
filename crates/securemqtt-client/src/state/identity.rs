//! `identity.pem`: the identity key, PKCS#8 in PEM, mode 0600. Never replaced silently.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use p256::SecretKey;
use p256::elliptic_curve::ALGORITHM_OID;
use p256::pkcs8::{
    AssociatedOid as _, DecodePrivateKey as _, EncodePrivateKey as _, LineEnding, PrivateKeyInfoRef, SecretDocument,
};
use securemqtt_core::identity::IdentityKey;
use zeroize::Zeroizing;

use super::atomic;
use super::error::StateError;

/// What is wrong with an identity file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityProblem {
    /// Empty, or it ends before its last line.
    HalfWritten,
    /// A key of another kind or curve.
    OtherCurve,
    /// A private key in another container than PKCS#8.
    OtherFormat,
    /// Protected by a pass phrase.
    Encrypted,
    /// No private key at all.
    NotAKey,
}

/// Reads an identity key; `None` if there is no such file.
///
/// # Errors
/// If others may read the file, or it is anything but a whole P-256 key.
pub fn read_identity(path: &Path) -> Result<Option<IdentityKey>, StateError> {
    let Some(pem) = read_private(path)? else { return Ok(None) };
    let fail = |problem| StateError::Identity { path: path.to_owned(), problem };
    let secret = SecretKey::from_pkcs8_pem(&pem).map_err(|_| fail(diagnose(&pem)))?;
    let scalar = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
    let key = IdentityKey::from_bytes(&scalar).map_err(|_| fail(IdentityProblem::NotAKey))?;
    Ok(Some(key))
}

/// Makes a new identity key and stores it.
pub(super) fn create(path: &Path) -> Result<IdentityKey, StateError> {
    let scalar = random_scalar()?;
    let not_a_key = |_| StateError::Identity { path: path.to_owned(), problem: IdentityProblem::NotAKey };
    let key = IdentityKey::from_bytes(&scalar.to_bytes().into()).map_err(|_| StateError::Random)?;
    let pem = scalar.to_pkcs8_pem(LineEnding::LF).map_err(not_a_key)?;
    atomic::write(path, pem.as_bytes())?;
    Ok(key)
}

/// A uniform scalar, by rejection; all but one in 2^32 draws will do.
fn random_scalar() -> Result<SecretKey, StateError> {
    loop {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut()).map_err(|_| StateError::Random)?;
        if let Ok(secret) = SecretKey::from_slice(bytes.as_ref()) {
            return Ok(secret);
        }
    }
}

/// The text of a file that nobody else may read; `None` if there is none.
fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, StateError> {
    let fail = |source| StateError::Read { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(fail)?,
    };
    let metadata = file.metadata().map_err(fail)?;
    refuse_open_mode(path, &metadata, 0o600)?;
    // Reserved, so that no outgrown copy of the key stays in memory.
    let length = usize::try_from(metadata.len()).unwrap_or(0).min(64 << 10);
    let mut text = Zeroizing::new(String::with_capacity(length + 1));
    file.read_to_string(&mut text).map_err(fail)?;
    Ok(Some(text))
}

/// Refuses what group or others may touch.
pub(super) fn refuse_open_mode(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), StateError> {
    let mode = metadata.permissions().mode() & 0o7777;
    let open_to_others = mode & 0o077;
    if open_to_others == 0 { Ok(()) } else { Err(StateError::Mode { path: path.to_owned(), mode, wanted }) }
}

/// Why a PEM file is not the key we want.
fn diagnose(pem: &str) -> IdentityProblem {
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return IdentityProblem::Encrypted;
    }
    if pem.contains("BEGIN EC PRIVATE KEY") || pem.contains("BEGIN OPENSSH PRIVATE KEY") {
        return IdentityProblem::OtherFormat;
    }
    if pem.trim().is_empty() || (pem.starts_with("-----BEGIN PRIVATE") && !pem.contains("-----END PRIVATE KEY-----")) {
        return IdentityProblem::HalfWritten;
    }
    let Ok((_, document)) = SecretDocument::from_pem(pem) else { return IdentityProblem::NotAKey };
    match document.decode_msg::<PrivateKeyInfoRef<'_>>() {
        Ok(info) if info.algorithm.oids().is_ok_and(|oids| oids != (ALGORITHM_OID, Some(p256::NistP256::OID))) => {
            IdentityProblem::OtherCurve
        }
        _ => IdentityProblem::NotAKey,
    }
}

impl fmt::Display for IdentityProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HalfWritten => {
                "is cut short; restore it from a backup, or remove it to start with a new identity, which every peer has to accept anew"
            }
            Self::OtherCurve => "holds a key of another kind; an identity is a P-256 key (openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)",
            Self::OtherFormat => "is not in PKCS#8; convert it with: openssl pkcs8 -topk8 -nocrypt",
            Self::Encrypted => "is protected by a pass phrase; remove that with: openssl pkcs8 -topk8 -nocrypt",
            Self::NotAKey => "holds no private key; restore it from a backup, or remove it to start with a new identity",
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn problem(contents: &str) -> IdentityProblem {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        atomic::write(&path, contents.as_bytes()).unwrap();
        match read_identity(&path) {
            Err(StateError::Identity { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_identity_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        assert!(read_identity(&path).unwrap().is_none());
        let key = create(&path).unwrap();
        let again = read_identity(&path).unwrap().unwrap();
        assert_eq!(key.public().fingerprint(), again.public().fingerprint());
        assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }

    #[test]
    fn others_may_not_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_identity(&path).unwrap_err();
        assert!(matches!(error, StateError::Mode { mode: 0o640, wanted: 0o600, .. }), "{error}");
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        create(&path).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(problem(""), IdentityProblem::HalfWritten);
        assert_eq!(problem(&whole[..whole.len() / 2]), IdentityProblem::HalfWritten);
        assert_eq!(problem("hello"), IdentityProblem::NotAKey);
        assert_eq!(problem("-----BEGIN EC PRIVATE KEY-----\n"), IdentityProblem::OtherFormat);
        assert_eq!(problem("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), IdentityProblem::Encrypted);
        assert_eq!(problem(ED25519), IdentityProblem::OtherCurve);
        assert_eq!(problem(P384), IdentityProblem::OtherCurve);
    }

    const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEICTFO8XPuwhpdL2HBob0ZUTpM1SsfxlKcEIDutnQ91JZ\n-----END PRIVATE KEY-----\n";
    const P384: &str = "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDWEbhg7cB2EOpG35Q6\n\
        DNlLa9yIRsYVTyUuJ4Kw9pp2AGXbtrgXBEXyMmJMabRrXBChZANiAASKnBEW9sWg\n\
        wxN7+flf3+PleYfudyJxzTZSk06lv/oAHbSjBZQRvvjoQh7aQWECbI/iY5gCRTBT\n\
        HZZV+lHGKeWtfLJ33XDfz0L/cxagliPYMeyeX+jOFYxyWSUumgqIPf4=\n-----END PRIVATE KEY-----\n";
}
