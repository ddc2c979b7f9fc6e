//! A broker of its own for each test: a real Mosquitto on free loopback ports, in a fresh directory, with the
//! repository's `mosquitto.conf` as the base. It is stopped by its handle, also when the test panics.
//!
//! On a machine without Mosquitto the embedded broker (`mqtt5`) stands in, says so, and tests that need more than it has
//! are reported as skipped; with `CI=true` the absence is a failure. `SECUREMQTT_TEST_BROKER=embedded` asks for it.

mod embedded;
mod mosquitto;
mod setup;

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use embedded::Embedded;
use mosquitto::Mosquitto;

pub(crate) use setup::{Setup, example_tls};

/// Longer than any step of a broker takes on a loaded machine; waiting ends as soon as the step is done.
const PATIENCE: Duration = Duration::from_secs(20);

/// The only address any of this listens on.
pub(crate) const HOST: &str = "127.0.0.1";

/// A port that nobody listens on, and below those that the system gives to outgoing connections (from 32768 on Linux):
/// one of these may take the port of a broker while it is down, or a client that retries even connect to itself.
pub(crate) fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let free = |port: &u16| TcpListener::bind((HOST, *port)).is_ok();
    // Test runs at the same time begin at different places.
    let offset = std::process::id().wrapping_mul(97);
    std::iter::repeat_with(|| COUNT.fetch_add(1, Ordering::SeqCst).wrapping_add(offset) % 20_000)
        .map(|number| 12_000 + u16::try_from(number).unwrap())
        .take(20_000)
        .find(free)
        .expect("no free port from 12000 to 31999")
}

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
