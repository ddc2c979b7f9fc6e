//! `mqtt://user:password@host:port`, and its relatives.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::options::BrokerAddress;
use super::secret::Password;

/// A broker's address with the credentials that a URL may carry.
#[derive(Clone, Debug)]
pub struct BrokerUrl {
    /// Where the broker listens.
    pub address: BrokerAddress,
    /// User name, if the URL has one.
    pub username: Option<String>,
    /// Password, if the URL has one.
    pub password: Option<Password>,
}

/// Why a text is not a broker's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// No scheme, or none that we know.
    Scheme,
    /// No host, or no path for a unix socket.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// A percent sign without two hex digits, or bytes that are not UTF-8.
    Encoding,
    /// A query, a fragment, or a path where none belongs.
    Trailing,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "unknown scheme; use mqtt://, mqtts://, ws://, wss:// or unix://PATH",
            Self::Host => "no host; write it as mqtt://HOST:PORT, or unix:///run/broker.sock",
            Self::Port => "bad port; use a number from 1 to 65535",
            Self::Encoding => "bad percent-encoding in the user name or password; write % as %25",
            Self::Trailing => "unexpected text after the port; only ws:// and wss:// have a path",
        })
    }
}

impl std::error::Error for UrlError {}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let (web, tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => (false, false, 1883),
            "mqtts" | "ssl" | "tls" => (false, true, 8883),
            "ws" => (true, false, 80),
            "wss" => (true, true, 443),
            "unix" => return unix(rest),
            _ => return Err(UrlError::Scheme),
        };
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let (userinfo, host_port) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let (username, password) = userinfo.map_or(Ok((None, None)), credentials)?;
        let (host, port) = host_and_port(host_port, default_port)?;
        let address = if web {
            let path = if path.is_empty() || path == "/" { "/mqtt" } else { path };
            BrokerAddress::WebSocket { host, port, path: path.to_owned(), tls }
        } else if path.is_empty() || path == "/" {
            BrokerAddress::Tcp { host, port, tls }
        } else {
            return Err(UrlError::Trailing);
        };
        Ok(Self { address, username, password })
    }
}

fn unix(path: &str) -> Result<BrokerUrl, UrlError> {
    if path.is_empty() {
        return Err(UrlError::Host);
    }
    Ok(BrokerUrl { address: BrokerAddress::Unix(PathBuf::from(path)), username: None, password: None })
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(UrlError::Port)?) };
        (host, port)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() {
        return Err(UrlError::Host);
    }
    let port = match port {
        None => default_port,
        Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
    };
    Ok((host.to_owned(), port))
}

fn credentials(userinfo: &str) -> Result<(Option<String>, Option<Password>), UrlError> {
    let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, password)| (user, Some(password)));
    let user = String::from_utf8(percent_decoded(user)?).map_err(|_| UrlError::Encoding)?;
    let password = password.map(percent_decoded).transpose()?.map(Password::new);
    Ok((Some(user), password))
}

fn percent_decoded(text: &str) -> Result<Vec<u8>, UrlError> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = bytes.next().and_then(hex_digit).ok_or(UrlError::Encoding)?;
            let low = bytes.next().and_then(hex_digit).ok_or(UrlError::Encoding)?;
            out.push(high << 4 | low);
        } else {
            out.push(byte);
        }
    }
    Ok(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_scheme() {
        for (url, shown) in [
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtts://broker.example", "mqtts://broker.example:8883"),
            ("ws://h:9001", "ws://h:9001/mqtt"),
            ("wss://h/path", "wss://h:443/path"),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("unix:///run/m.sock", "unix:///run/m.sock"),
        ] {
            assert_eq!(url.parse::<BrokerUrl>().unwrap().address.to_string(), shown);
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let url: BrokerUrl = "mqtt://al%40ice:p%3As@h".parse().unwrap();
        assert_eq!(url.username.as_deref(), Some("al@ice"));
        assert_eq!(url.password.as_ref().unwrap().expose(), b"p:s");
        assert!(!format!("{url:?}").contains("p:s"));
    }

    #[test]
    fn refusals() {
        for (url, error) in [
            ("localhost", UrlError::Scheme),
            ("http://h", UrlError::Scheme),
            ("mqtt://", UrlError::Host),
            ("mqtt://h:0", UrlError::Port),
            ("mqtt://h:70000", UrlError::Port),
            ("mqtt://h/topic", UrlError::Trailing),
            ("mqtt://u%4@h", UrlError::Encoding),
        ] {
            assert_eq!(url.parse::<BrokerUrl>().unwrap_err(), error, "{url}");
        }
    }
}
