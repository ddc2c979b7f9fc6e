//! The yardstick: rumqttc with plaintext, with the options that our link gives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc_v5::{
    AsyncClient, Event, EventLoop, IncomingPacketSizeLimit, MqttOptions, NetworkOptions, Outgoing, Packet,
    PublishOptions, QoS, TlsConfiguration, Transport,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::control::{self, say};
use super::pace::Pace;
use super::tally::{Receiver, Tally};
use super::{Readings, now_ns};
use crate::broker::{HOST, IN_FLIGHT};
use crate::job::{Ask, Load, Said, Site};
use crate::outcome::Outcome;

/// As our link asks for.
const RECEIVE_MAXIMUM: u16 = 1024;
const MAX_PACKET: u32 = 16 << 20;

fn connect(site: &Site, id: &str) -> Outcome<(AsyncClient, EventLoop)> {
    let mut options = MqttOptions::new(id, (HOST, site.port));
    if let Some(authority) = &site.authority {
        let ca = std::fs::read(authority)?;
        let tls = TlsConfiguration::Simple { ca, alpn: None, client_auth: None };
        options.set_transport(Transport::tls_with_config(tls));
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options.set_keep_alive(60);
    options.set_clean_start(true);
    options.set_receive_maximum(Some(RECEIVE_MAXIMUM));
    options.set_max_packet_size(Some(MAX_PACKET));
    options.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(MAX_PACKET));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    options.set_max_request_batch(usize::from(IN_FLIGHT));
    Ok(AsyncClient::builder(options).capacity(usize::from(IN_FLIGHT)).try_build()?)
}

fn quality(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// How many publishes are done: sent at QoS 0, acknowledged at QoS 1.
#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    moved: Notify,
}

impl Progress {
    async fn reached(&self, count: u64) {
        while self.done.load(Ordering::Acquire) < count {
            // A permit is kept where nobody waits: no wake-up is missed.
            self.moved.notified().await;
        }
    }
}

/// Publishes whenever it is asked to.
pub(super) async fn publish(site: &Site, load: &Load) -> Outcome<()> {
    let mut questions = control::listen();
    let (client, mut events) = connect(site, "plain-publisher")?;
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    let progress = Arc::new(Progress::default());
    let polling = tokio::spawn(poll(events, Arc::clone(&progress), load.qos));
    say(&Said::Ready)?;

    let mut readings = Readings::new(load.size);
    let serve = async {
        loop {
            let Ask::Publish { millis } = questions.next().await else { return Err("it can only publish".into()) };
            let (began_ns, before) = (now_ns(), readings.count());
            let deadline = Instant::now() + Duration::from_millis(millis);
            let mut pace = Pace::start(load.per_second);
            while Instant::now() < deadline {
                pace.next().await;
                let at = pace.is_timed().then(now_ns);
                let payload = readings.next(at).to_vec();
                client.publish(load.topic.as_str(), payload, PublishOptions::new(quality(load.qos))).await?;
            }
            say(&Said::Published { readings: readings.count() - before, began_ns })?;
            progress.reached(readings.count()).await;
            say(&Said::Settled)?;
        }
    };
    tokio::select! {
        ended = polling => ended?,
        served = serve => served,
    }
}

async fn poll(mut events: EventLoop, progress: Arc<Progress>, qos: u8) -> Outcome<()> {
    loop {
        let done = match events.poll().await? {
            Event::Outgoing(Outgoing::Publish(_)) => qos == 0,
            Event::Incoming(Packet::PubAck(_)) => true,
            _ => false,
        };
        if done {
            progress.done.fetch_add(1, Ordering::Release);
            progress.moved.notify_one();
        }
    }
}

/// Counts what comes.
pub(super) async fn subscribe(site: &Site, topic: String, qos: u8, timed: bool) -> Outcome<()> {
    let tally = Arc::new(Tally::default());
    Arc::clone(&tally).answer();
    let mut receiver = Receiver::new(&tally, timed);
    let (client, mut events) = connect(site, "plain-subscriber")?;
    client.subscribe(topic, quality(qos)).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => say(&Said::Ready)?,
            Event::Incoming(Packet::Publish(publish)) => receiver.note(&publish.payload),
            _ => {}
        }
    }
}
