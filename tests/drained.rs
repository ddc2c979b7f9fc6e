//! The library's publisher tells when the broker has everything: who waits for that must not wait for nothing.

use std::time::Duration;

use securemqtt_client::publisher::Publisher;
use securemqtt_client::state::StateDir;
use securemqtt_core::Qos;
use securemqtt_core::publisher::Config;

use crate::broker::Broker;
use crate::library::started;
use crate::process::PATIENCE;

#[test]
fn the_end_of_everything_is_told_with_a_spool_and_without() {
    let broker = Broker::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for spool_max in [0, 1 << 20] {
        runtime.block_on(tells(&broker, spool_max));
    }
}

async fn tells(broker: &Broker, spool_max: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let mut publisher = with_spool(broker, &StateDir::open(scratch.path().join("state")).unwrap(), spool_max).await;
    for _ in 0..5_000 {
        while !publisher.is_ready() {
            publisher.next().await.unwrap();
        }
        publisher.publish("t/a", &[b"{}"], Qos::AtLeastOnce, false).unwrap();
    }
    // And more than the link takes at once: the last ones wait in front of it.
    for _ in 0..1_000 {
        if publisher.is_drained() {
            publisher.publish("t/a", &[b"{}"], Qos::AtLeastOnce, false).unwrap();
        }
    }
    assert!(!publisher.is_drained());
    publisher.watch();
    while !publisher.is_drained() {
        let told = tokio::time::timeout(PATIENCE, publisher.next()).await;
        told.unwrap_or_else(|_| panic!("with a spool of {spool_max} bytes nobody tells")).unwrap();
    }
    publisher.finish(Duration::from_secs(3)).await.unwrap();
}

#[test]
fn an_end_that_nobody_watches_takes_none_of_its_patience() {
    let broker = Broker::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scratch = tempfile::tempdir().unwrap();
        let mut publisher = with_spool(&broker, &StateDir::open(scratch.path().join("state")).unwrap(), 0).await;
        while !publisher.is_connected() {
            publisher.next().await.unwrap();
        }
        publisher.publish("t/a", &[b"{}"], Qos::AtLeastOnce, false).unwrap();
        let end = tokio::time::timeout(PATIENCE / 2, publisher.finish(PATIENCE)).await;
        assert!(end.expect("it waits for what has come").unwrap().is_empty());
    });
}

async fn with_spool(broker: &Broker, directory: &StateDir, spool_max: usize) -> Publisher {
    // Its own ticks, which come back to it, would wake it.
    started(broker, directory, Config { spool_max, tick_ms: 3_600_000, ..Config::new("p".parse().unwrap()) }).await
}
