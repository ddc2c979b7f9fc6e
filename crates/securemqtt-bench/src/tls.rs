//! A private certification authority, and the broker's certificate.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::outcome::Outcome;

/// The PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// Whom clients trust.
    pub authority: PathBuf,
    /// The broker's.
    pub server: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`, for 127.0.0.1.
    ///
    /// # Errors
    /// If they cannot be made or written.
    pub(crate) fn make(directory: &Path) -> Outcome<Self> {
        let file = |name: &str| directory.join(name);
        let files = Self { authority: file("ca.pem"), server: file("server.pem"), key: file("server.key") };

        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "benchmark");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        fs::write(&files.authority, authority.self_signed(&authority_key)?.pem())?;

        let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "broker");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        fs::write(&files.server, server.signed_by(&key, &Issuer::new(authority, authority_key))?.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}
