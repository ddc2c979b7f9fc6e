//! The TLS configuration: whom we trust, and what we show of ourselves.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;

use super::error::LinkError;
use super::options::TlsOptions;

/// Reads the files that `options` names. The provider is named here: a process default may not exist, or be another.
pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, LinkError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| LinkError::config(error.to_string()))?;
    let trusting = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else if options.cafile.is_some() || options.capath.is_some() {
        builder.with_root_certificates(roots(options)?)
    } else {
        builder.with_platform_verifier().map_err(|error| {
            LinkError::config(format!(
                "cannot use the system's certification authorities: {error}; name some with --cafile"
            ))
        })?
    };
    let mut config = with_identity(trusting, options)?;
    config.alpn_protocols = options.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
    Ok(Arc::new(config))
}

type TrustingBuilder = ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn with_identity(builder: TrustingBuilder, options: &TlsOptions) -> Result<ClientConfig, LinkError> {
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_bytes = PrivateKeyDer::from_pem_file(key).map_err(|error| pem_error(key, "private key", &error))?;
            builder.with_client_auth_cert(chain, key_bytes).map_err(|error| {
                LinkError::config(format!("{} and {} do not work together: {error}", cert.display(), key.display()))
            })
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err(LinkError::config("--cert needs --key, the file of its private key".into())),
        (None, Some(_)) => Err(LinkError::config("--key needs --cert, the file of its certificate".into())),
    }
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, LinkError> {
    let mut store = RootCertStore::empty();
    if let Some(file) = &options.cafile {
        for certificate in certificates(file)? {
            store.add(certificate).map_err(|error| LinkError::config(format!("{}: {error}", file.display())))?;
        }
    }
    if let Some(directory) = &options.capath {
        let entries = fs::read_dir(directory)
            .map_err(|error| LinkError::config(format!("cannot read {}: {error}", directory.display())))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            // Such directories also hold revocation lists and notes: what is no certificate is passed over.
            store.add_parsable_certificates(certificates(&path).unwrap_or_default());
        }
        if store.is_empty() {
            return Err(LinkError::config(format!("{} holds no certificate in PEM format", directory.display())));
        }
    }
    Ok(store)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_error(file, "certificate", &error))?;
    if chain.is_empty() {
        return Err(LinkError::config(format!("{} holds no certificate in PEM format", file.display())));
    }
    Ok(chain)
}

fn pem_error(file: &Path, what: &str, error: &rustls::pki_types::pem::Error) -> LinkError {
    use rustls::pki_types::pem::Error;
    LinkError::config(match error {
        Error::Io(error) => format!("cannot read {}: {error}", file.display()),
        Error::NoItemsFound => format!("{} holds no {what} in PEM format", file.display()),
        other => format!("{} is not a PEM file: {other}", file.display()),
    })
}

/// `--insecure`: any certificate will do. Signatures are still checked, so that a broken one is an error.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
