//! The yardstick: rumqttc with plaintext, with the options that our link gives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc_v5::{
    AsyncClient, Event, EventLoop, IncomingPacketSizeLimit, MqttOptions, NetworkOptions, Outgoing, Packet,
    PublishOptions, QoS, TlsConfiguration, Transport, ValidatedTopic,
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
/// Requests that wait for the event loop: more than one batch of it, so that it never waits for the next reading.
const QUEUE: usize = 1024;
/// Readings between two looks at the clock, as our publisher takes them.
const MAX_AT_ONCE: usize = 64;

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
    Ok(AsyncClient::builder(options).capacity(QUEUE).try_build()?)
}

fn quality(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// How many publishes are done (sent at QoS 0, acknowledged at QoS 1), for whoever waits until there are so many.
#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    awaited: AtomicU64,
    reached: Notify,
}

impl Progress {
    async fn until(&self, count: u64) {
        self.awaited.store(count, Ordering::Release);
        while self.done.load(Ordering::Acquire) < count {
            // A permit is kept where nobody waits: no wake-up is missed.
            self.reached.notified().await;
        }
    }

    /// So many more: nobody is woken but at the last.
    fn add(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::AcqRel) + more;
        if done >= self.awaited.load(Ordering::Acquire) {
            self.reached.notify_one();
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

    // It is checked once.
    let topic = ValidatedTopic::new(load.topic.as_str())?;
    let mut readings = Readings::new(load.size);
    let serve = async {
        loop {
            let Ask::Publish { millis } = questions.next().await else { return Err("it can only publish".into()) };
            let (began_ns, before) = (now_ns(), readings.count());
            progress.awaited.store(u64::MAX, Ordering::Release);
            let deadline = Instant::now() + Duration::from_millis(millis);
            let mut pace = Pace::start(load.per_second)?;
            while Instant::now() < deadline {
                pace.next().await?;
                let at_hand = if pace.is_even() { 1 } else { MAX_AT_ONCE };
                for _ in 0..at_hand {
                    let payload = readings.next(pace.is_even().then(now_ns));
                    client.publish(topic.clone(), payload, PublishOptions::new(quality(load.qos))).await?;
                }
            }
            say(&Said::Published { readings: readings.count() - before, began_ns })?;
            progress.until(readings.count()).await;
            say(&Said::Settled)?;
        }
    };
    tokio::select! {
        ended = polling => ended?,
        served = serve => served,
    }
}

async fn poll(mut events: EventLoop, progress: Arc<Progress>, qos: u8) -> Outcome<()> {
    let is_done = |event: &Event| match event {
        Event::Outgoing(Outgoing::Publish(_)) => qos == 0,
        Event::Incoming(Packet::PubAck(_)) => true,
        _ => false,
    };
    loop {
        let mut done = u64::from(is_done(&events.poll().await?));
        // What the same poll brought besides.
        done += events.state.events.drain(..).map(|event| u64::from(is_done(&event))).sum::<u64>();
        if done > 0 {
            progress.add(done);
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
    let mut take = |event: Event| match event {
        Event::Incoming(Packet::SubAck(_)) => say(&Said::Ready),
        Event::Incoming(Packet::Publish(publish)) => {
            receiver.note(&publish.payload);
            Ok(())
        }
        _ => Ok(()),
    };
    loop {
        take(events.poll().await?)?;
        // What the same poll brought besides, as our link takes it.
        events.state.events.drain(..).try_for_each(&mut take)?;
    }
}
