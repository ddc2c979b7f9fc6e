//! What a connection failed of, found at the bottom of an error: TLS, the operating system, or something else.

use std::error::Error;
use std::io;

use super::{LinkError, LinkErrorKind};
use crate::mqtt::options::BrokerOptions;

impl LinkError {
    /// Sorts an error by what lies at its bottom: rustls, the operating system, or something else.
    pub(in crate::mqtt) fn from_source(options: &BrokerOptions, error: &(dyn Error + 'static)) -> Self {
        if let Some(tls) = find::<rustls::Error>(error) {
            return Self::from_tls(options, tls);
        }
        match find::<io::Error>(error) {
            Some(io) => Self::from_io(options, io),
            None => Self::passing(format!("the connection to {} failed: {error}", options.address)),
        }
    }

    fn from_tls(options: &BrokerOptions, error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, Error as Tls};
        let broker = &options.address;
        match error {
            Tls::InvalidCertificate(why) => Self::permanent(
                LinkErrorKind::Credentials,
                format!(
                    "the certificate of {broker} is not to be trusted: {why}; name its authority with --cafile, and the host as the certificate does"
                ),
            ),
            Tls::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) if options.tls.cert.is_none() => {
                Self::permanent(
                    LinkErrorKind::Credentials,
                    format!("{broker} asks for a client certificate; give one with --cert and --key"),
                )
            }
            Tls::AlertReceived(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError,
            ) => Self::permanent(
                LinkErrorKind::Credentials,
                format!("{broker} refuses our certificate: {error}; check --cert and --key"),
            ),
            Tls::AlertReceived(Alert::NoApplicationProtocol) | Tls::NoApplicationProtocol => Self::permanent(
                LinkErrorKind::Config,
                format!("{broker} knows none of the protocols offered; check --tls-alpn"),
            ),
            Tls::InvalidMessage(_) => Self::passing(format!(
                "{broker} does not answer in TLS ({error}); check the port, or use mqtt:// or ws://"
            )),
            other => Self::passing(format!("TLS with {broker} failed: {other}")),
        }
    }

    fn from_io(options: &BrokerOptions, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let broker = &options.address;
        match error.kind() {
            Kind::ConnectionRefused => Self::passing(format!(
                "nothing listens at {broker} (connection refused); start the broker, or check -h and -p"
            )),
            Kind::NotFound => Self::passing(format!("{broker} does not exist; start the broker, or check the path")),
            Kind::PermissionDenied => {
                Self::passing(format!("no permission to open {broker}; check the socket's owner and mode"))
            }
            Kind::ConnectionReset | Kind::UnexpectedEof | Kind::BrokenPipe | Kind::ConnectionAborted => {
                Self { closed_by_broker: true, ..Self::passing(format!("{broker} closed the connection ({error})")) }
            }
            Kind::TimedOut => Self::timed_out(options),
            _ if error.to_string().contains("lookup address") => Self::passing(format!(
                "cannot find the host of {broker} ({error}); check its spelling and the name server"
            )),
            _ => Self::passing(format!("cannot reach {broker}: {error}; check the network, -h and -p")),
        }
    }
}

/// The first `T` in the chain of sources. An `io::Error` hides what it wraps from `source()`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
