//! The demo's broker: the embedded one, or Mosquitto if it is installed. On a free loopback port, gone with the demo.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker};
use securemqtt_cli::exit::{Exit, Failure, Outcome};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The rules that the README's broker runs by; only the port differs.
const MOSQUITTO_CONF: &str = include_str!("../../../../mosquitto.conf");
/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether Mosquitto listens yet: it does not say so.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A broker that runs until it is dropped.
pub(super) struct Broker {
    pub(super) port: u16,
    pub(super) name: &'static str,
    _running: Running,
}

#[expect(dead_code, reason = "held to be dropped")]
enum Running {
    Embedded(Shutdown),
    Mosquitto(Child),
}

struct Shutdown(BrokerShutdownHandle);

impl Drop for Shutdown {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// Starts the broker inside this process.
pub(super) async fn embedded() -> Outcome<Broker> {
    let failed = |error: mqtt5::error::MqttError| {
        Failure::new(Exit::Io, format!("the embedded broker does not start: {error}"))
            .hint("if Mosquitto is installed, try: mqtt-subscriber demo --with mosquitto")
    };
    let config = BrokerConfig::default()
        .with_bind_address((Ipv4Addr::LOCALHOST, 0))
        .with_storage(StorageConfig::new().with_backend(StorageBackend::Memory));
    let mut broker = MqttBroker::with_config(config).await.map_err(failed)?;
    let port = broker.local_addr().map(|address| address.port());
    let port = port.ok_or_else(|| Failure::new(Exit::Io, "the embedded broker has no address"))?;
    let shutdown = Shutdown(broker.shutdown_handle());
    // Clients that come too early are retried; its end is the end of the demo.
    tokio::spawn(async move { broker.run().await });
    Ok(Broker { port, name: "embedded", _running: Running::Embedded(shutdown) })
}

/// Starts Mosquitto with this repository's rules, in a directory of its own.
pub(super) async fn mosquitto(directory: &Path) -> Outcome<Broker> {
    let port = free_port()?;
    let config = directory.join("mosquitto.conf");
    let rules = MOSQUITTO_CONF.replace("listener 1883 127.0.0.1", &format!("listener {port} 127.0.0.1"));
    std::fs::write(&config, rules).map_err(|error| Failure::writing(&config, &error))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let child = Command::new("mosquitto")
        // Debian keeps it where only root looks.
        .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"))
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::new(Exit::Config, format!("Mosquitto does not start: {error}")).hint(
                "install it (apt-get install mosquitto), or leave --with out: the demo brings a broker of its own",
            )
        })?;
    let listening = timeout(PATIENCE, async {
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.is_err() {
            sleep(LOOK_EVERY).await;
        }
    });
    listening.await.map_err(|_| Failure::new(Exit::Io, "Mosquitto was started and does not listen"))?;
    Ok(Broker { port, name: "Mosquitto", _running: Running::Mosquitto(child) })
}

/// A port that is free now: Mosquitto cannot choose one itself.
fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
