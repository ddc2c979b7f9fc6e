//! Everything needed to reach a broker: plain data, filled in by the command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Password;

/// Where the broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerAddress {
    /// MQTT over TCP, or over TLS.
    Tcp {
        /// Host name or address, an IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// MQTT over WebSocket, or over WebSocket and TLS.
    WebSocket {
        /// Host name or address, an IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// Path of the WebSocket endpoint, with its leading slash.
        path: String,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// MQTT over a unix socket.
    Unix(PathBuf),
}

impl BrokerAddress {
    /// Whether the connection cannot leave this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } | Self::WebSocket { host, .. } => is_loopback(host),
        }
    }

    pub(super) fn uses_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. } | Self::WebSocket { tls: true, .. })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "mqtts" } else { "mqtt" };
                write!(f, "{scheme}://{}:{port}", bracketed(host))
            }
            Self::WebSocket { host, port, path, tls } => {
                let scheme = if *tls { "wss" } else { "ws" };
                write!(f, "{scheme}://{}:{port}{path}", bracketed(host))
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `host`, in brackets if it is an IPv6 address.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Version of the MQTT protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 5.
    #[default]
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl fmt::Display for MqttVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5 => "MQTT 5",
            Self::V311 => "MQTT 3.1.1",
        })
    }
}

/// How the broker's certificate is checked, and what we show of ourselves.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM file of certification authorities to trust instead of the operating system's.
    pub cafile: Option<PathBuf>,
    /// Directory of such files.
    pub capath: Option<PathBuf>,
    /// Our certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Our certificate's private key, PEM.
    pub key: Option<PathBuf>,
    /// Application protocols to offer.
    pub alpn: Vec<String>,
    /// Accept any certificate. Peers stay authenticated end to end; the broker does not.
    pub insecure: bool,
}

/// When to try again after the connection failed.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Whether the first failure to connect is final.
    pub no_retry: bool,
    /// Longest delay between two attempts.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { no_retry: false, max_delay: Duration::from_secs(60) }
    }
}

/// Everything needed to reach a broker.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Where the broker listens.
    pub address: BrokerAddress,
    /// Protocol version.
    pub version: MqttVersion,
    /// Client identifier; never two of one at a broker.
    pub client_id: String,
    /// Longest silence before a ping, at least a second; zero turns pings off.
    pub keep_alive: Duration,
    /// Longest time for one attempt to connect, CONNACK included.
    pub connect_timeout: Duration,
    /// User name for the broker.
    pub username: Option<String>,
    /// Password for the broker.
    pub password: Option<Password>,
    /// TLS, for the addresses that use it.
    pub tls: TlsOptions,
    /// What to do when the broker is away.
    pub retry: RetryPolicy,
    /// Whether the broker forgets us when we disconnect.
    pub clean_start: bool,
    /// How long an MQTT 5 broker keeps our session while we are away.
    pub session_expiry: Duration,
    /// Messages the broker may send us before we acknowledge one (MQTT 5; a 3.1.1 broker follows its own limit).
    pub receive_maximum: u16,
    /// QoS 1 publishes under way at once; the broker may allow fewer.
    pub in_flight: u16,
    /// Largest packet we accept, in bytes.
    pub max_packet_size: u32,
}

impl BrokerOptions {
    /// The defaults for a broker at `address`.
    pub fn new(address: BrokerAddress, client_id: impl Into<String>) -> Self {
        Self {
            address,
            version: MqttVersion::default(),
            client_id: client_id.into(),
            keep_alive: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            username: None,
            password: None,
            tls: TlsOptions::default(),
            retry: RetryPolicy::default(),
            clean_start: false,
            session_expiry: Duration::from_secs(7 * 24 * 60 * 60),
            receive_maximum: 1024,
            in_flight: 256,
            max_packet_size: 16 << 20,
        }
    }
}
