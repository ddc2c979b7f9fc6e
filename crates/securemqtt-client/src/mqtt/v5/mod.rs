//! MQTT 5, over rumqttc-v5-next.

mod fault;
mod session;

use std::sync::Arc;
use std::time::Duration;

use rumqttc_v5::{
    AckMode, AsyncClient, Broker, ConnAck, ConnectionError, Event, EventLoop, IncomingPacketSizeLimit, ManualAck,
    MqttOptions, NetworkOptions, Outgoing, Packet, PubAck, PubAckReason, PublishOptions, PublishProperties, SubAck,
    SubscribeFilterInput, SubscribeReasonCode, TlsConfiguration, Transport, ValidatedTopic,
};
use securemqtt_core::Qos;

use super::connection::{Limits, MAX_PACKET_SIZE, PacketId, Received, Rejected, Report};
use super::cork::Cork;
use super::error::LinkError;
use super::options::{BrokerAddress, BrokerOptions};
use super::outbox::Publish;
use super::qos::{from_qos, to_qos};
use fault::fault;
use session::EmptySession;

pub(super) fn open(
    options: &BrokerOptions,
    tls: Option<&Arc<rustls::ClientConfig>>,
    cork: &Cork,
) -> Result<(AsyncClient, EventLoop), LinkError> {
    let mut mqtt = target(options, tls, cork)?;
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    mqtt.set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX));
    mqtt.set_connect_timeout(options.connect_timeout);
    mqtt.set_ack_mode(AckMode::Manual);
    mqtt.set_clean_start(options.clean_start);
    mqtt.set_session_expiry_interval(Some(u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX)));
    mqtt.set_receive_maximum(Some(options.receive_maximum.max(1)));
    mqtt.set_max_packet_size(Some(options.max_packet_size));
    mqtt.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(options.max_packet_size));
    mqtt.set_outgoing_inflight_upper_limit(options.in_flight.max(1));
    mqtt.set_max_request_batch(usize::from(options.in_flight.max(1)));
    match (&options.username, &options.password) {
        (Some(user), Some(password)) => {
            mqtt.set_credentials(user, password.expose().to_vec());
        }
        (Some(user), None) => {
            mqtt.set_username(user);
        }
        (None, Some(password)) => {
            mqtt.set_password(password.expose().to_vec());
        }
        (None, None) => {}
    }
    if !options.clean_start {
        mqtt.set_session_store(EmptySession { in_flight: options.in_flight.max(1) });
    }
    AsyncClient::builder(mqtt).unbounded().try_build().map_err(|error| LinkError::config(error.to_string()))
}

fn target(
    options: &BrokerOptions,
    tls: Option<&Arc<rustls::ClientConfig>>,
    cork: &Cork,
) -> Result<MqttOptions, LinkError> {
    let id = options.client_id.clone();
    let secure = || {
        tls.map(|config| TlsConfiguration::Rustls(Arc::clone(config)))
            .ok_or_else(|| LinkError::config("TLS is not configured".into()))
    };
    let refuse = |error: rumqttc_v5::OptionError| LinkError::config(format!("{}: {error}", options.address));
    Ok(match &options.address {
        BrokerAddress::Tcp { host, port, tls } => {
            let mut mqtt = MqttOptions::new(id, (host.clone(), *port));
            if *tls {
                mqtt.set_transport(Transport::tls_with_config(secure()?));
            }
            dial(&mut mqtt, host, *port, cork);
            mqtt
        }
        BrokerAddress::WebSocket { tls: true, .. } => {
            MqttOptions::websocket_with_tls_config(id, options.address.to_string(), secure()?).map_err(refuse)?
        }
        BrokerAddress::WebSocket { .. } => {
            MqttOptions::new(id, Broker::websocket(options.address.to_string()).map_err(refuse)?)
        }
        BrokerAddress::Unix(path) => MqttOptions::new(id, Broker::unix(path)),
    })
}

/// Our own socket: it gathers what is written. And rumqttc joins host and port with a colon, which an IPv6 address does
/// not survive.
fn dial(mqtt: &mut MqttOptions, host: &str, port: u16, cork: &Cork) {
    let (host, cork) = (host.to_owned(), cork.clone());
    mqtt.set_socket_connector(move |_, _| cork.clone().connect(host.clone(), port));
}

/// A topic in rumqttc's terms: checked once.
pub(super) fn topic(name: &str) -> Result<ValidatedTopic, Rejected> {
    ValidatedTopic::new(name).map_err(|_| Rejected)
}

pub(super) fn publish(client: &AsyncClient, topic: ValidatedTopic, publish: &mut Publish) -> Result<(), Rejected> {
    let mut options = PublishOptions::new(to_qos(publish.qos)).retain(publish.retain);
    if publish.expiry.is_some() {
        options = options
            .properties(PublishProperties { message_expiry_interval: publish.expiry, ..PublishProperties::default() });
    }
    client.try_publish(topic, publish.payload_to_send(), options).map_err(|_| Rejected)
}

pub(super) fn subscribe(client: &AsyncClient, filters: &[(String, Qos)]) -> Result<(), Rejected> {
    let filters = filters.iter().map(|(filter, qos)| SubscribeFilterInput::new(filter.clone(), to_qos(*qos)));
    client.try_subscribe_many(filters).map_err(|_| Rejected)
}

pub(super) fn acknowledge(client: &AsyncClient, id: PacketId) {
    // The channel is unbounded and lives as long as the connection: nothing to lose here.
    let _ = client.try_manual_ack(ManualAck::PubAck(PubAck::new(id, None)));
}

pub(super) fn disconnect(client: &AsyncClient, patience: Option<Duration>) {
    let _ = match patience {
        Some(patience) => client.try_disconnect_with_timeout(patience),
        None => client.try_disconnect_now(),
    };
}

pub(super) async fn next(events: &mut EventLoop, options: &BrokerOptions) -> Result<Report, LinkError> {
    loop {
        let report = match events.poll().await {
            Ok(event) => report(event),
            Err(ConnectionError::RequestsDone | ConnectionError::DisconnectTimeout) => Some(Report::Closed),
            Err(error) => return Err(fault(&error, options)),
        };
        if let Some(report) = report {
            if matches!(report, Report::Connected { .. }) {
                // It has done its work; left in place it would take a checkpoint at every packet.
                events.options.clear_session_store();
            }
            return Ok(report);
        }
    }
}

/// What the last poll brought besides. CONNACK is never among it.
pub(super) fn ready(events: &mut EventLoop) -> Option<Report> {
    std::iter::from_fn(|| events.state.events.pop_front()).find_map(report)
}

fn report(event: Event) -> Option<Report> {
    match event {
        Event::Incoming(packet) => incoming(packet),
        Event::Outgoing(packet) => outgoing(&packet),
        Event::Auth(_) => None,
    }
}

fn incoming(packet: Packet) -> Option<Report> {
    Some(match packet {
        Packet::ConnAck(connack) => {
            Report::Connected { session_present: connack.session_present, limits: limits(&connack) }
        }
        Packet::Publish(publish) => Report::Received(Received {
            topic: publish.topic,
            payload: publish.payload,
            qos: from_qos(publish.qos),
            retain: publish.retain,
            dup: publish.dup,
            id: publish.pkid,
        }),
        Packet::PubAck(puback) => {
            let accepted = matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            let refused = (!accepted).then(|| format!("{:?} (0x{:02x})", puback.reason, puback.reason as u8));
            Report::Acknowledged { id: puback.pkid, refused }
        }
        Packet::SubAck(suback) => Report::Subscribed { id: suback.pkid, refusals: refusals(&suback) },
        _ => return None,
    })
}

fn outgoing(packet: &Outgoing) -> Option<Report> {
    match packet {
        Outgoing::Publish(id) => Some(Report::Sent(*id)),
        Outgoing::Subscribe(id) => Some(Report::SubscribeSent(*id)),
        _ => None,
    }
}

fn limits(connack: &ConnAck) -> Limits {
    let properties = connack.properties.as_ref();
    Limits {
        max_packet_size: properties.and_then(|p| p.max_packet_size).unwrap_or(MAX_PACKET_SIZE),
        retain: properties.and_then(|p| p.retain_available) != Some(0),
        receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        max_qos: if properties.and_then(|p| p.max_qos) == Some(0) { Qos::AtMostOnce } else { Qos::AtLeastOnce },
    }
}

fn refusals(suback: &SubAck) -> Vec<Option<String>> {
    let reason = |code: &SubscribeReasonCode| match code {
        SubscribeReasonCode::Success(_) => None,
        refused => Some(format!("{refused:?}")),
    };
    suback.return_codes.iter().map(reason).collect()
}
