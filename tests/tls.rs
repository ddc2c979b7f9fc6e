//! A private certificate authority in a temporary directory. A second one, never told to anybody, is the wrong authority.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// Signs servers and clients; its files are gone when it is dropped.
pub(crate) struct Authority {
    directory: TempDir,
    certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// The PEM files of one certificate.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// `name` tells two authorities apart in error messages.
    pub(crate) fn new(name: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let mut params = parameters(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = directory.path().join("ca.pem");
        fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, certificate, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate: what `--cafile` takes.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A server's, for `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> Files {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.sign("server", &names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's, with this common name.
    pub(crate) fn client(&self, name: &str) -> Files {
        self.sign(name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, name: &str, subjects: &[String], usage: ExtendedKeyUsagePurpose) -> Files {
        let mut params = parameters(name, subjects);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            certificate: self.directory.path().join(format!("{name}.pem")),
            key: self.directory.path().join(format!("{name}.key")),
        };
        fs::write(&files.certificate, signed.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

fn parameters(name: &str, subjects: &[String]) -> CertificateParams {
    let mut params = CertificateParams::new(subjects).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
