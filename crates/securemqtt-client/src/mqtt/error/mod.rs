//! What can go wrong with a connection, in words for the person who has to fix it.

mod source;

use std::error::Error;
use std::fmt;

use super::options::BrokerOptions;

/// The sort of a [`LinkError`]: what an exit code needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkErrorKind {
    /// The broker cannot be reached, or the connection was lost: trying again may help (exit 69).
    Unreachable,
    /// What answers does not speak MQTT as we do (exit 76).
    Protocol,
    /// Another client uses our identifier (exit 76).
    TakenOver,
    /// The broker refuses who we are, or we refuse who it is (exit 77).
    Credentials,
    /// Our own options or files are wrong (exit 78).
    Config,
    /// One message cannot be published; everything else goes on (exit 65).
    Message,
    /// The link has ended.
    Closed,
}

/// Why the link to the broker failed.
#[derive(Clone, Debug)]
pub struct LinkError {
    kind: LinkErrorKind,
    permanent: bool,
    closed_by_broker: bool,
    refused_size: bool,
    text: String,
}

impl LinkError {
    /// The sort of error.
    pub fn kind(&self) -> LinkErrorKind {
        self.kind
    }

    /// Whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// Whether the broker ended the connection over a publish that it finds too large.
    pub(super) fn is_refused_size(&self) -> bool {
        self.refused_size
    }

    /// Whether the broker just closed the connection, without a word.
    pub(super) fn is_silent_close(&self) -> bool {
        self.closed_by_broker
    }

    fn permanent(kind: LinkErrorKind, text: String) -> Self {
        Self { kind, permanent: true, closed_by_broker: false, refused_size: false, text }
    }

    fn passing(text: String) -> Self {
        Self { kind: LinkErrorKind::Unreachable, permanent: false, closed_by_broker: false, refused_size: false, text }
    }

    pub(super) fn config(text: String) -> Self {
        Self::permanent(LinkErrorKind::Config, text)
    }

    pub(crate) fn closed() -> Self {
        Self::permanent(LinkErrorKind::Closed, "the connection to the broker has ended".into())
    }

    pub(super) fn window_full() -> Self {
        Self {
            kind: LinkErrorKind::Message,
            permanent: false,
            closed_by_broker: false,
            refused_size: false,
            text: "too many publishes are under way; wait for the broker to acknowledge some".into(),
        }
    }

    pub(super) fn too_large(topic: &str, size: usize, limit: u32) -> Self {
        Self::permanent(
            LinkErrorKind::Message,
            format!(
                "the message on {topic} makes a packet of {size} bytes and the broker takes at most {limit}; publish less at once or raise the broker's limit"
            ),
        )
    }

    pub(super) fn bad_topic(topic: &str) -> Self {
        Self::permanent(
            LinkErrorKind::Message,
            format!("cannot publish on {topic:?}; a topic has no + or #, and at most 65535 bytes"),
        )
    }

    pub(super) fn bad_credentials(options: &BrokerOptions) -> Self {
        let (what, hint) = match (&options.username, &options.password) {
            (None, None) => ("a user name and password are needed".to_owned(), "give them with -u and --password-file"),
            (Some(user), None) => (format!("user {user} needs a password"), "give it with --password-file"),
            (Some(user), Some(_)) => {
                (format!("wrong user name or password for user {user}"), "check -u and --password-file")
            }
            (None, Some(_)) => ("wrong password".to_owned(), "check --password-file, and whether -u is missing"),
        };
        Self::permanent(LinkErrorKind::Credentials, format!("{} refuses us: {what}; {hint}", options.address))
    }

    pub(super) fn not_authorized(options: &BrokerOptions) -> Self {
        if options.username.is_none() && options.password.is_none() {
            return Self::bad_credentials(options);
        }
        Self::permanent(
            LinkErrorKind::Credentials,
            format!(
                "{} refuses us: not authorised; check -u and --password-file, and what the broker allows this user and client id {}",
                options.address, options.client_id
            ),
        )
    }

    pub(super) fn bad_client_id(options: &BrokerOptions) -> Self {
        Self::permanent(
            LinkErrorKind::Config,
            format!(
                "{} does not accept the client id {:?}; choose another with -i",
                options.address, options.client_id
            ),
        )
    }

    pub(super) fn unsupported_version(options: &BrokerOptions) -> Self {
        Self::permanent(
            LinkErrorKind::Protocol,
            format!("{} does not speak {}; try the other with -V 311 or -V 5", options.address, options.version),
        )
    }

    pub(super) fn taken_over(options: &BrokerOptions) -> Self {
        Self::permanent(
            LinkErrorKind::TakenOver,
            format!(
                "another client connected to {} with our client id {}; stop it, or give each its own --state-dir (or -i)",
                options.address, options.client_id
            ),
        )
    }

    pub(super) fn closed_again_and_again(options: &BrokerOptions, times: u32) -> Self {
        Self::permanent(
            LinkErrorKind::TakenOver,
            format!(
                "{} accepted and at once closed the connection {times} times in a row; does another client use the client id {}? \
                 Stop it, or give each its own --state-dir (or -i). Otherwise the broker's log says what it does not allow",
                options.address, options.client_id
            ),
        )
    }

    /// The connection was closed before the broker accepted it.
    pub(super) fn closed_unaccepted(options: &BrokerOptions) -> Self {
        Self::passing(format!(
            "{} closed the connection before accepting it; check that the port is MQTT's and whether it expects TLS, and try -V 311",
            options.address
        ))
    }

    pub(super) fn closed_by_broker(options: &BrokerOptions) -> Self {
        Self { closed_by_broker: true, ..Self::passing(format!("{} closed the connection", options.address)) }
    }

    pub(super) fn refused_size(options: &BrokerOptions) -> Self {
        let text = format!("{} ended the connection over a message that is too large for it", options.address);
        Self { refused_size: true, ..Self::passing(text) }
    }

    pub(super) fn oversized(options: &BrokerOptions) -> Self {
        Self::passing(format!(
            "{} sent a packet of more than {} bytes, which we do not accept; subscribe to less",
            options.address, options.max_packet_size
        ))
    }

    pub(super) fn timed_out(options: &BrokerOptions) -> Self {
        Self::passing(format!(
            "{} did not answer within {:?}; check host and port, and whether the port expects TLS",
            options.address, options.connect_timeout
        ))
    }

    pub(super) fn refused(options: &BrokerOptions, code: &str) -> Self {
        Self::passing(format!(
            "{} refuses connections at the moment ({code}); the broker's log says why",
            options.address
        ))
    }

    pub(super) fn lost(options: &BrokerOptions, why: &str) -> Self {
        Self::passing(format!("lost {}: {why}", options.address))
    }

    pub(super) fn not_mqtt(options: &BrokerOptions, error: &dyn Error) -> Self {
        Self::passing(format!(
            "{} does not answer in {} ({error}); check the port, and try -V 311",
            options.address, options.version
        ))
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for LinkError {}
