//! Readings go behind what the publisher says of itself, and must not wait there for anything else.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use securemqtt_client::mqtt::{BrokerAddress, BrokerOptions};
use securemqtt_client::publisher::{Publisher, Settings, WhenFull};
use securemqtt_client::state::{StateDir, Store};
use securemqtt_core::Qos;
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::publisher::Config;
use securemqtt_core::trust::{Trust, TrustMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longer than it takes, and shorter than the 10 s after which a publisher that cannot watch its peers looks at them.
const PATIENCE: Duration = Duration::from_secs(6);
const TOPIC: &str = "t/a";

#[tokio::test]
async fn a_reading_follows_the_first_words_with_a_spool_and_without() {
    for spool_max in [0, 1 << 20] {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDir::open(scratch.path().join("state")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut publisher = started(&state, listener.local_addr().unwrap().port(), spool_max).await;
        // It is ready to go before there is a connection, so that the hello and the tick stand in front of it.
        publisher.publish(TOPIC, &[b"{}"], Qos::AtLeastOnce, false).unwrap();
        assert!(publisher.is_stored(PATIENCE).await);
        let mut broker = timeout(PATIENCE, accept(&listener)).await.unwrap();
        let came = async {
            tokio::select! {
                () = hears_reading(&mut broker) => {}
                () = drive(&mut publisher) => {}
            }
        };
        assert!(timeout(PATIENCE, came).await.is_ok(), "with a spool of {spool_max} bytes it waits");
    }
}

async fn drive(publisher: &mut Publisher) {
    loop {
        publisher.next().await.unwrap();
    }
}

/// A broker that answers CONNECT, and then nothing: nothing that it says wakes the publisher.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut connect = [0; 1024];
    assert!(stream.read(&mut connect).await.unwrap() > 0);
    stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
    stream
}

/// Reads until the reading's topic has come; no control topic holds it.
async fn hears_reading(stream: &mut TcpStream) {
    let mut heard = Vec::new();
    while !heard.windows(TOPIC.len()).any(|part| part == TOPIC.as_bytes()) {
        assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "the publisher hung up");
    }
}

async fn started(directory: &StateDir, port: u16, spool_max: usize) -> Publisher {
    let identity = directory.identity().unwrap();
    let (store, loaded) = Store::open(directory, None).unwrap();
    let mut peers = directory.known_peers();
    // A change since would wake it right after it has connected.
    peers.load_if_changed().unwrap();
    let address = BrokerAddress::Tcp { host: "127.0.0.1".to_owned(), port, tls: false };
    let settings = Settings {
        broker: BrokerOptions::new(address, "p"),
        trust: Trust::new(TrustMode::Strict, identity.public().id(), KnownPeers::default(), Vec::new()),
        identity,
        engine: Config { spool_max, tick_ms: 3_600_000, ..Config::new("p".parse().unwrap()) },
        peers,
        store,
        loaded,
        when_full: WhenFull::Wait,
    };
    Publisher::start(settings).await.unwrap()
}
