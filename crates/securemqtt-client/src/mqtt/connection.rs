//! One connection to the broker, whichever version it speaks: from TCP to DISCONNECT, never reused.
//!
//! Every attempt starts with an empty rumqttc. What rumqttc would keep over a reconnect (packet identifiers, queued
//! acknowledgements, half-read events) is what goes wrong after one: a late acknowledgement can hit a reused packet
//! identifier, and its resends are dropped when the broker lost the session. The [`Outbox`](super::outbox::Outbox)
//! resends instead.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use securemqtt_core::Qos;

use super::cork::Cork;
use super::error::LinkError;
use super::options::{BrokerOptions, MqttVersion};
use super::outbox::Publish;
use super::{v4, v5};

/// Packet identifier of a publish or a subscription under way.
pub(super) type PacketId = u16;

/// What a connection reports, in the terms of both versions.
#[derive(Debug)]
pub(super) enum Report {
    Connected {
        session_present: bool,
        limits: Limits,
    },
    /// A publish went out. Identifier 0: QoS 0.
    Sent(PacketId),
    Acknowledged {
        id: PacketId,
        refused: Option<String>,
    },
    SubscribeSent(PacketId),
    Subscribed {
        id: PacketId,
        refusals: Vec<Option<String>>,
    },
    Received(Received),
    /// Our DISCONNECT is out and nothing more will happen.
    Closed,
}

/// A message as it arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) id: PacketId,
}

/// What the broker said it takes. Handing rumqttc more would end the connection, again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_packet_size: u32,
    pub(super) retain: bool,
    pub(super) max_qos: Qos,
    /// QoS 1 publishes that may be under way at once.
    pub(super) receive_maximum: u16,
}

/// The largest packet MQTT can express.
pub(super) const MAX_PACKET_SIZE: u32 = 268_435_460;

impl Default for Limits {
    fn default() -> Self {
        Self { max_packet_size: MAX_PACKET_SIZE, retain: true, max_qos: Qos::AtLeastOnce, receive_maximum: u16::MAX }
    }
}

/// The sending half.
pub(super) struct Sender {
    client: Client,
    cork: Cork,
}

/// A client, with the topic of the last publish.
enum Client {
    V5(rumqttc_v5::AsyncClient, Option<Topic<rumqttc_v5::ValidatedTopic>>),
    V4(rumqttc_v4::AsyncClient, Option<Topic<rumqttc_v4::ValidatedTopic>>),
}

/// A topic as we have it, and as rumqttc has checked it.
type Topic<T> = (Arc<str>, T);

/// `name` in rumqttc's terms: a publish mostly has the topic of the one before, which was checked.
fn checked<T: Clone>(
    last: &mut Option<Topic<T>>,
    name: &Arc<str>,
    check: impl FnOnce(&str) -> Result<T, Rejected>,
) -> Result<T, Rejected> {
    if let Some((_, topic)) = last.as_ref().filter(|(last, _)| last == name) {
        return Ok(topic.clone());
    }
    let topic = check(name)?;
    Ok(last.insert((Arc::clone(name), topic)).1.clone())
}

/// The half that makes everything move, by being polled.
pub(super) enum Poller {
    V5(Box<rumqttc_v5::EventLoop>),
    V4(Box<rumqttc_v4::EventLoop>),
}

/// rumqttc refused a packet before sending it.
#[derive(Debug)]
pub(super) struct Rejected;

/// Prepares a connection; the first poll opens it.
pub(super) fn open(
    options: &BrokerOptions,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<(Sender, Poller), LinkError> {
    let cork = Cork::default();
    let (client, poller) = match options.version {
        MqttVersion::V5 => {
            let (client, events) = v5::open(options, tls, &cork)?;
            (Client::V5(client, None), Poller::V5(Box::new(events)))
        }
        MqttVersion::V311 => {
            let (client, events) = v4::open(options, tls, &cork)?;
            (Client::V4(client, None), Poller::V4(Box::new(events)))
        }
    };
    Ok((Sender { client, cork }, poller))
}

impl Sender {
    /// Takes the payload along where nobody has to send it again.
    pub(super) fn publish(&mut self, publish: &mut Publish) -> Result<(), Rejected> {
        match &mut self.client {
            Client::V5(client, last) => v5::publish(client, checked(last, &publish.topic, v5::topic)?, publish),
            Client::V4(client, last) => v4::publish(client, checked(last, &publish.topic, v4::topic)?, publish),
        }
    }

    pub(super) fn subscribe(&self, filters: &[(String, Qos)]) -> Result<(), Rejected> {
        match &self.client {
            Client::V5(client, _) => v5::subscribe(client, filters),
            Client::V4(client, _) => v4::subscribe(client, filters),
        }
    }

    /// Acknowledges a message of this connection.
    pub(super) fn acknowledge(&self, id: PacketId) {
        match &self.client {
            Client::V5(client, _) => v5::acknowledge(client, id),
            Client::V4(client, _) => v4::acknowledge(client, id),
        }
    }

    /// Whether acknowledgements of publishes are awaited: they are read as they come then.
    pub(super) fn await_answers(&self, are_awaited: bool) {
        self.cork.await_answers(are_awaited);
    }

    /// DISCONNECT, at once or after the acknowledgements and publishes before it, for at most `patience`.
    pub(super) fn disconnect(&self, patience: Option<Duration>) {
        self.cork.pull();
        match &self.client {
            Client::V5(client, _) => v5::disconnect(client, patience),
            Client::V4(client, _) => v4::disconnect(client, patience),
        }
    }
}

impl Poller {
    pub(super) async fn next(&mut self, options: &BrokerOptions) -> Result<Report, LinkError> {
        match self {
            Self::V5(events) => v5::next(events, options).await,
            Self::V4(events) => v4::next(events, options).await,
        }
    }

    /// What the last poll brought besides: taken without another poll.
    pub(super) fn ready(&mut self) -> Option<Report> {
        match self {
            Self::V5(events) => v5::ready(events),
            Self::V4(events) => v4::ready(events),
        }
    }
}
