//! The embedded broker, in this process: the plain listener and nothing more.

use std::sync::mpsc;
use std::thread::JoinHandle;

use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker};

use super::PATIENCE;

/// Runs until it is dropped.
pub(super) struct Embedded {
    port: u16,
    shutdown: BrokerShutdownHandle,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    pub(super) fn start() -> Self {
        let (started, ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(
                async {
                    let mut broker = MqttBroker::with_config(config()).await.unwrap();
                    let port = broker.local_addr().unwrap().port();
                    let mut accepting = broker.ready_receiver();
                    let shutdown = broker.shutdown_handle();
                    tokio::join!(async { broker.run().await.unwrap() }, async move {
                        accepting.changed().await.unwrap();
                        started.send((port, shutdown)).unwrap();
                    });
                },
            );
        });
        let (port, shutdown) = ready.recv_timeout(PATIENCE).expect("the embedded broker did not start");
        Self { port, shutdown, thread: Some(thread) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        // A broker that failed has failed its test already, through its clients.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A free loopback port, and nothing on the disk.
fn config() -> BrokerConfig {
    BrokerConfig::default()
        .with_bind_address(([127, 0, 0, 1], 0))
        .with_storage(StorageConfig::new().with_backend(StorageBackend::Memory))
}
