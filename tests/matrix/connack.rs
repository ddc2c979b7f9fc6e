//! CONNECT and CONNACK by hand: a broker is ready when it takes a client, not when its port is open.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::broker::HOST;

/// NATS may take four seconds for it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A version of MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mqtt {
    V311,
    V5,
}

impl Mqtt {
    /// The value of `-V`.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::V311 => "311",
            Self::V5 => "5",
        }
    }

    fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

impl fmt::Display for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// A user name and a password.
pub(super) type Account = (&'static str, &'static str);

/// Whether the broker at this port takes a client now.
pub(super) fn takes_a_client(port: u16, version: Mqtt, account: Option<Account>) -> io::Result<bool> {
    let mut stream = TcpStream::connect((HOST, port))?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    stream.write_all(&connect(version, account))?;
    // Type, length, flags, reason: the same in both versions.
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    stream.write_all(&[0xE0, 0x00])?;
    Ok(connack[0] == 0x20 && connack[3] == 0)
}

/// A clean session.
fn connect(version: Mqtt, account: Option<Account>) -> Vec<u8> {
    let flags = if account.is_some() { 0xC2 } else { 0x02 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version.level(), flags, 0, 60];
    if version == Mqtt::V5 {
        // No properties.
        body.push(0);
    }
    let (user, password) = account.unzip();
    for text in [Some("is-it-ready"), user, password].into_iter().flatten() {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.as_bytes());
    }
    let length = u8::try_from(body.len()).unwrap();
    assert!(length < 128, "a longer one needs a longer length");
    [&[0x10, length], &body[..]].concat()
}
