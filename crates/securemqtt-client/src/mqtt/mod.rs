//! One small interface over MQTT 5 and MQTT 3.1.1, so that the drivers do not know the version.
//!
//! [`Link::start`] spawns one task that connects, reconnects, and forwards what arrives; a [`Link`] hands work to it,
//! [`LinkEvents`] hears from it. A QoS 1 publish handed in is sent again over every new connection until the broker
//! has acknowledged it, whether or not the broker kept the session.

mod backoff;
mod connection;
mod cork;
mod driver;
mod error;
mod events;
mod link;
mod live;
mod moderated;
mod options;
mod outbox;
mod qos;
mod secret;
mod shared;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod v4;
mod v5;
mod window;

pub use error::{LinkError, LinkErrorKind};
pub use events::{AckToken, LinkEvent, LinkEvents, Message, Topic};
pub use link::{Link, Ticket};
pub use options::{BrokerAddress, BrokerOptions, MqttVersion, RetryPolicy, TlsOptions};
pub use secret::Password;
pub use url::{BrokerUrl, UrlError};
