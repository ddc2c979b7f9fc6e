//! The flags that say which broker, and how to reach it.

mod tls;

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use securemqtt_client::mqtt::{
    BrokerAddress, BrokerOptions, BrokerUrl, LinkError, LinkErrorKind, MqttVersion, Password, RetryPolicy, UrlError,
};
use securemqtt_core::Qos;

use self::tls::TlsArgs;
use crate::config::{Exclusive, read_secret};
use crate::duration::parse_duration;
use crate::exit::{Exit, Failure, Outcome};

/// Said at each start with `--insecure`.
pub const INSECURE: &str =
    "--insecure: the broker's certificate is not checked; peers are authenticated and readings encrypted all the same";

/// Under which heading the flags of this module stand.
pub(crate) const HEADING: &str = "Broker";

/// The flags of this module that exclude each other.
pub const EXCLUSIVE: [Exclusive; 3] = [("broker", "host"), ("broker", "port"), ("password", "password-file")];

/// The flags, named and lettered as mosquitto's are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = HEADING)]
pub struct BrokerArgs {
    /// The broker's host name or address [default: localhost]; a bare -h prints help
    // No value at all means help: `config::parse` answers it.
    #[arg(short = 'h', long, value_name = "HOST", num_args(0..=1))]
    #[expect(clippy::option_option, reason = "absent, bare, with a value: clap's own encoding")]
    host: Option<Option<String>>,

    /// The broker's port [default: 1883, with TLS 8883]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// The broker as a URL: mqtt:// mqtts:// ws:// wss:// or unix:///path
    #[arg(short, long, value_name = "URL")]
    broker: Option<UrlText>,

    /// The user name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,

    /// A file whose first line is the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// The password; other users of this machine see it here, so better SECUREMQTT_PASSWORD or --password-file
    #[arg(short = 'P', long, value_parser = parse_password)]
    password: Option<Password>,

    /// The MQTT client id [default: derived from the identity key]
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,

    /// Seconds without traffic after which the link is checked
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(5..))]
    keepalive: u16,

    /// How long the broker keeps our session while we are away; 0: it ends with the connection. A broker of MQTT 3.1.1
    /// keeps it as long as it sees fit, or with 0 not at all
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = parse_duration)]
    session_expiry: Duration,

    /// Quality of service of readings: 0 or 1
    #[arg(short, long, default_value = "1", value_parser = parse_qos)]
    pub qos: Qos,

    /// MQTT version
    #[arg(short = 'V', long, value_enum, default_value_t)]
    mqtt_version: Version,

    #[command(flatten)]
    tls: TlsArgs,

    /// How long a connection attempt may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    connect_timeout: Duration,

    /// Give up when the broker cannot be reached (exit code 69)
    #[arg(long)]
    no_retry: bool,

    /// The longest pause between two attempts
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    retry_max: Duration,
}

/// A URL that may be wrong. Clap must not refuse it, as it would print it, and the password in it.
#[derive(Clone, Debug)]
struct UrlText(Result<BrokerUrl, UrlError>);

impl From<&str> for UrlText {
    fn from(text: &str) -> Self {
        Self(text.parse())
    }
}

/// [`MqttVersion`] with mosquitto's spellings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.
    #[default]
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl ValueEnum for Version {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::V5, Self::V311]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::V5 => PossibleValue::new("5").alias("mqttv5"),
            Self::V311 => PossibleValue::new("311").aliases(["mqttv311", "3.1.1"]),
        })
    }
}

impl From<Version> for MqttVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::V5 => Self::V5,
            Version::V311 => Self::V311,
        }
    }
}

impl BrokerArgs {
    /// Checks the flags against each other, reads the password file, and fills in what the client needs; `client_id` is
    /// used where `--id` is not given.
    ///
    /// # Errors
    /// The flags contradict each other, or the password file cannot be read.
    pub fn options(&self, client_id: &str) -> Outcome<BrokerOptions> {
        let address = self.address()?;
        self.check_tls(&address)?;
        let client_id = self.id.as_deref().unwrap_or(client_id);
        let mut options = BrokerOptions::new(address, client_id);
        options.version = self.mqtt_version.into();
        options.keep_alive = Duration::from_secs(self.keepalive.into());
        options.connect_timeout = self.connect_timeout;
        options.username = self.username();
        options.password = self.password()?;
        options.tls = self.tls.options();
        options.session_expiry = whole_seconds(self.session_expiry);
        options.clean_start = self.session_expiry.is_zero();
        options.retry = RetryPolicy { no_retry: self.no_retry, max_delay: self.retry_max };
        Ok(options)
    }

    /// Where the broker listens.
    ///
    /// # Errors
    /// The URL cannot be read, or the host is empty.
    pub fn address(&self) -> Outcome<BrokerAddress> {
        if let Some(UrlText(url)) = &self.broker {
            let url = url.as_ref().map_err(|error| Failure::new(Exit::Usage, format!("--broker: {error}")))?;
            return Ok(url.address.clone());
        }
        // Any of mosquitto's TLS flags asks for TLS, as it does there.
        let tls = self.tls.first().is_some();
        let port = self.port.unwrap_or(if tls { 8883 } else { 1883 });
        let host = self.host.as_ref().and_then(Option::as_deref);
        let host = host.unwrap_or("localhost");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(Failure::new(Exit::Usage, "--host is empty"));
        }
        Ok(BrokerAddress::Tcp { host: host.to_owned(), port, tls })
    }

    /// Whether `--insecure` was given: a warning is due at each start.
    pub fn is_insecure(&self) -> bool {
        self.tls.insecure
    }

    fn url(&self) -> Option<&BrokerUrl> {
        self.broker.as_ref().and_then(|UrlText(url)| url.as_ref().ok())
    }

    fn username(&self) -> Option<String> {
        let in_url = self.url().and_then(|url| url.username.clone());
        self.username.clone().or(in_url)
    }

    fn password(&self) -> Outcome<Option<Password>> {
        if let Some(file) = &self.password_file {
            return Ok(Some(Password::new(read_secret(file)?)));
        }
        let in_url = self.url().and_then(|url| url.password.clone());
        Ok(self.password.clone().or(in_url))
    }

    /// A TLS flag on a URL without TLS would be ignored silently, and the connection be in the clear.
    fn check_tls(&self, address: &BrokerAddress) -> Outcome<()> {
        match self.tls.first().filter(|_| !uses_tls(address)) {
            Some(flag) => Err(Failure::new(Exit::Usage, format!("{flag} needs TLS, and the broker's URL has none"))
                .hint("use an mqtts:// or wss:// URL, or leave the flag out")),
            None => Ok(()),
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let exit = match error.kind() {
            LinkErrorKind::Unreachable => Exit::Unreachable,
            LinkErrorKind::Credentials => Exit::Refused,
            LinkErrorKind::Config => Exit::Config,
            LinkErrorKind::Message => Exit::BadData,
            _ => Exit::Protocol,
        };
        Self::new(exit, error.to_string())
    }
}

/// MQTT counts in seconds: a part of one must not become 0, which means something else.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

fn uses_tls(address: &BrokerAddress) -> bool {
    matches!(address, BrokerAddress::Tcp { tls: true, .. } | BrokerAddress::WebSocket { tls: true, .. })
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a clap parser")]
fn parse_password(text: &str) -> Result<Password, Infallible> {
    Ok(Password::new(text))
}

fn parse_qos(text: &str) -> Result<Qos, String> {
    match u8::from_str(text) {
        Ok(0) => Ok(Qos::AtMostOnce),
        Ok(1) => Ok(Qos::AtLeastOnce),
        _ => Err("0 or 1; readings are de-duplicated end to end, so that 2 would add nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Cli {
        #[command(flatten)]
        broker: BrokerArgs,
    }

    fn parse(arguments: &[&str]) -> Result<BrokerArgs, String> {
        let all = ["prog"].iter().chain(arguments);
        let cli = Cli::try_parse_from(all).map_err(|error| error.to_string())?;
        Ok(cli.broker)
    }

    fn options(arguments: &[&str]) -> Result<BrokerOptions, String> {
        let made = parse(arguments)?.options("own");
        made.map_err(|failure| failure.to_string())
    }

    fn address(arguments: &[&str]) -> String {
        options(arguments).unwrap().address.to_string()
    }

    #[test]
    fn defaults() {
        let plain = options(&[]).unwrap();
        assert_eq!(plain.address.to_string(), "mqtt://localhost:1883");
        assert_eq!((plain.client_id.as_str(), plain.version), ("own", MqttVersion::V5));
        assert!(plain.address.is_local() && !plain.retry.no_retry);
        assert_eq!(parse(&[]).unwrap().qos, Qos::AtLeastOnce);
    }

    #[test]
    fn letters_are_mosquittos() {
        let line = "-h broker -p 1884 -u me -P hunter2 -i x -k 5 -q 0 -V 311 --no-retry";
        let line: Vec<&str> = line.split(' ').collect();
        let given = options(&line).unwrap();
        assert_eq!(given.address.to_string(), "mqtt://broker:1884");
        assert_eq!(given.username.as_deref(), Some("me"));
        assert!(given.password.is_some() && !format!("{given:?}").contains("hunter2"));
        assert_eq!((given.client_id.as_str(), given.version), ("x", MqttVersion::V311));
        assert_eq!(given.keep_alive, Duration::from_secs(5));
        assert!(given.retry.no_retry && !given.address.is_local());
        assert_eq!(parse(&line).unwrap().qos, Qos::AtMostOnce);
    }

    #[test]
    fn a_session_is_kept_for_a_week_or_as_told() {
        let kept = |arguments: &[&str]| {
            let options = options(arguments).unwrap();
            (options.session_expiry.as_secs(), options.session_expiry.subsec_nanos(), options.clean_start)
        };
        assert_eq!(kept(&[]), (7 * 86_400, 0, false));
        assert_eq!(kept(&["--session-expiry", "1h"]), (3_600, 0, false));
        assert_eq!(kept(&["--session-expiry", "500ms"]), (1, 0, false));
        assert_eq!(kept(&["--session-expiry", "0"]), (0, 0, true));
        assert_eq!(kept(&["--session-expiry", "0", "-V", "311"]), (0, 0, true));
    }

    #[test]
    fn a_url_brings_its_own_credentials() {
        let given = options(&["-b", "mqtt://me:p%40ss@h"]).unwrap();
        assert_eq!(given.address.to_string(), "mqtt://h:1883");
        assert_eq!(given.username.as_deref(), Some("me"));
        assert!(given.password.is_some());
        assert_eq!(address(&["-h", "[::1]"]), "mqtt://[::1]:1883");
        let refused = options(&["-b", "mqtt://me:hunter2@h:0"]).unwrap_err();
        assert!(refused.contains("port") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_tls_flag_asks_for_tls_and_is_never_ignored() {
        assert_eq!(address(&["--cafile", "ca.pem"]), "mqtts://localhost:8883");
        let refused = options(&["-b", "mqtt://h", "--insecure"]).unwrap_err();
        assert!(refused.contains("--insecure needs TLS"), "{refused}");
        assert!(options(&["--cert", "c.pem"]).is_err());
    }

    #[test]
    fn the_password_file_gives_its_first_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hunter2\nrest\n").unwrap();
        assert_eq!(read_secret(file.path()).unwrap(), "hunter2");
        let failure = options(&["--password-file", "/nonexistent"]).unwrap_err();
        assert!(failure.contains("/nonexistent"));
    }

    #[test]
    fn quality_of_service_2_is_explained() {
        assert!(options(&["-q", "2"]).unwrap_err().contains("de-duplicated"));
    }
}
