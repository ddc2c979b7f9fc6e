//! The flags about TLS to the broker.

use std::path::PathBuf;

use clap::Args;
use securemqtt_client::mqtt::TlsOptions;

use super::HEADING;

/// The flags, named as mosquitto's are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = HEADING)]
pub(super) struct TlsArgs {
    /// PEM file with the certificate authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,

    /// Directory of such files
    #[arg(long, value_name = "DIR")]
    capath: Option<PathBuf>,

    /// PEM file with the client certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// PEM file with the client certificate's key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Protocol to ask for in the TLS handshake, such as mqtt
    #[arg(long, value_name = "PROTOCOL")]
    tls_alpn: Option<String>,

    /// Take any broker certificate; peers are authenticated all the same
    #[arg(long)]
    pub(super) insecure: bool,
}

impl TlsArgs {
    /// The first of them that was given.
    pub(super) fn first(&self) -> Option<&'static str> {
        let flags = [
            ("--cafile", self.cafile.is_some()),
            ("--capath", self.capath.is_some()),
            ("--cert", self.cert.is_some()),
            ("--tls-alpn", self.tls_alpn.is_some()),
            ("--insecure", self.insecure),
        ];
        flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// What the client needs.
    pub(super) fn options(&self) -> TlsOptions {
        TlsOptions {
            cafile: self.cafile.clone(),
            capath: self.capath.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            alpn: self.tls_alpn.iter().cloned().collect(),
            insecure: self.insecure,
        }
    }
}
