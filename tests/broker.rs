//! A broker of its own for each test: a real Mosquitto on free loopback ports, in a fresh directory, with the
//! repository's `mosquitto.conf` as the base. It is stopped by its handle, also when the test panics.
//!
//! On a machine without Mosquitto the embedded broker (`mqtt5`) stands in, says so, and tests that need more than it has
//! are reported as skipped; with `CI=true` the absence is a failure. `SECUREMQTT_TEST_BROKER=embedded` asks for it.

mod embedded;
mod mosquitto;
mod setup;

use std::path::Path;
use std::time::Duration;

use embedded::Embedded;
use mosquitto::Mosquitto;

pub(crate) use setup::{Setup, example_tls};

/// Longer than any step of a broker takes on a loaded machine; waiting ends as soon as the step is done.
const PATIENCE: Duration = Duration::from_secs(20);

/// The only address any of this listens on.
pub(crate) const HOST: &str = "127.0.0.1";

/// A running broker.
pub(crate) struct Broker {
    running: Running,
}

enum Running {
    Mosquitto(Box<Mosquitto>),
    Embedded(Embedded),
}

impl Broker {
    /// A plain listener and anonymous clients: what every broker has.
    pub(crate) fn start() -> Self {
        Setup::new().start().expect("a plain broker needs no feature that the embedded one lacks")
    }

    /// The port of the plain listener.
    pub(crate) fn port(&self) -> u16 {
        match &self.running {
            Running::Mosquitto(broker) => broker.ports().plain,
            Running::Embedded(broker) => broker.port(),
        }
    }

    /// The port of the TLS listener of [`Setup::tls`], or of passwords in [`example_tls`].
    pub(crate) fn tls_port(&self) -> u16 {
        self.mosquitto().ports().tls
    }

    /// The port of the TLS listener for client certificates in [`example_tls`].
    pub(crate) fn client_certificate_port(&self) -> u16 {
        self.mosquitto().ports().client_certificate
    }

    /// The port of the listener of [`Setup::websocket`].
    pub(crate) fn websocket_port(&self) -> u16 {
        self.mosquitto().ports().websocket
    }

    /// What the broker has logged so far, for the message of a failing test.
    pub(crate) fn log(&self) -> String {
        match &self.running {
            Running::Mosquitto(broker) => broker.log(),
            Running::Embedded(_) => "(the embedded broker keeps no log)".to_owned(),
        }
    }

    /// The directory it runs in; gone when the broker is dropped.
    pub(crate) fn directory(&self) -> &Path {
        self.mosquitto().directory()
    }

    /// Stops it cleanly and starts it again on the same ports. Needs [`Setup::restartable`].
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Stops it cleanly: with [`Setup::persistent`] it saves first.
    pub(crate) fn stop(&mut self) {
        self.mosquitto_mut().stop();
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.mosquitto_mut().kill();
    }

    /// Starts it after [`Self::stop`] or [`Self::kill`], on the same ports and in the same directory.
    pub(crate) fn start_again(&mut self) {
        self.mosquitto_mut().start_again();
    }

    fn mosquitto(&self) -> &Mosquitto {
        match &self.running {
            Running::Mosquitto(broker) => broker,
            Running::Embedded(_) => {
                panic!("ask for this feature in the Setup, so that the test is skipped without it")
            }
        }
    }

    fn mosquitto_mut(&mut self) -> &mut Mosquitto {
        match &mut self.running {
            Running::Mosquitto(broker) => broker,
            Running::Embedded(_) => {
                panic!("ask for Setup::restartable, so that the test is skipped without it")
            }
        }
    }
}
