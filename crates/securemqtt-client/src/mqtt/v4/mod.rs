//! MQTT 3.1.1, over rumqttc-v4-next.

mod fault;

use std::sync::Arc;
use std::time::Duration;

use rumqttc_v4::{
    AckMode, AsyncClient, Broker, ConnectionError, Event, EventLoop, ManualAck, MqttOptions, NetworkOptions, Outgoing,
    Packet, PubAck, PublishOptions, SubAck, SubscribeFilterInput, SubscribeReasonCode, TlsConfiguration, Transport,
    ValidatedTopic,
};
use securemqtt_core::Qos;

use super::connection::{Limits, MAX_PACKET_SIZE, PacketId, Received, Rejected, Report};
use super::cork::Cork;
use super::error::LinkError;
use super::options::{BrokerAddress, BrokerOptions};
use super::outbox::Publish;
use super::qos::{from_qos, to_qos};
use fault::fault;

pub(super) fn open(
    options: &BrokerOptions,
    tls: Option<&Arc<rustls::ClientConfig>>,
    cork: &Cork,
) -> Result<(AsyncClient, EventLoop), LinkError> {
    let mut mqtt = target(options, tls, cork)?;
    mqtt.set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX));
    mqtt.set_ack_mode(AckMode::Manual);
    mqtt.set_clean_session(options.clean_start);
    mqtt.set_max_packet_size(to_usize(options.max_packet_size), to_usize(MAX_PACKET_SIZE));
    mqtt.set_inflight(options.in_flight.max(1));
    mqtt.set_max_request_batch(usize::from(options.in_flight.max(1)));
    // MQTT 3.1.1 has no password without a user name.
    match (&options.username, &options.password) {
        (Some(user), Some(password)) => {
            mqtt.set_credentials(user, password.expose().to_vec());
        }
        (Some(user), None) => {
            mqtt.set_username(user);
        }
        (None, Some(password)) => {
            mqtt.set_credentials("", password.expose().to_vec());
        }
        (None, None) => {}
    }
    let (client, mut events) =
        AsyncClient::builder(mqtt).unbounded().try_build().map_err(|error| LinkError::config(error.to_string()))?;
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(options.connect_timeout.as_secs().max(1));
    events.set_network_options(network);
    Ok((client, events))
}

fn to_usize(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
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
    let refuse = |error: rumqttc_v4::OptionError| LinkError::config(format!("{}: {error}", options.address));
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

/// MQTT 3.1.1 knows no expiry.
pub(super) fn publish(client: &AsyncClient, topic: ValidatedTopic, publish: &mut Publish) -> Result<(), Rejected> {
    let options = PublishOptions::new(to_qos(publish.qos)).retain(publish.retain);
    client.try_publish(topic, publish.payload_to_send(), options).map_err(|_| Rejected)
}

pub(super) fn subscribe(client: &AsyncClient, filters: &[(String, Qos)]) -> Result<(), Rejected> {
    let filters = filters.iter().map(|(filter, qos)| SubscribeFilterInput::new(filter.clone(), to_qos(*qos)));
    client.try_subscribe_many(filters).map_err(|_| Rejected)
}

pub(super) fn acknowledge(client: &AsyncClient, id: PacketId) {
    // The channel is unbounded and lives as long as the connection: nothing to lose here.
    let _ = client.try_manual_ack(ManualAck::PubAck(PubAck::new(id)));
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
            return Ok(report);
        }
    }
}

/// What the last poll brought besides.
pub(super) fn ready(events: &mut EventLoop) -> Option<Report> {
    std::iter::from_fn(|| events.state.events.pop_front()).find_map(report)
}

fn report(event: Event) -> Option<Report> {
    match event {
        Event::Incoming(packet) => incoming(packet),
        Event::Outgoing(packet) => outgoing(&packet),
    }
}

fn incoming(packet: Packet) -> Option<Report> {
    Some(match packet {
        Packet::ConnAck(connack) => {
            Report::Connected { session_present: connack.session_present, limits: Limits::default() }
        }
        Packet::Publish(publish) => Report::Received(Received {
            topic: publish.topic,
            payload: publish.payload,
            qos: from_qos(publish.qos),
            retain: publish.retain,
            dup: publish.dup,
            id: publish.pkid,
        }),
        // 3.1.1 cannot refuse a publish: this also comes for one that the broker's rules deny.
        Packet::PubAck(puback) => Report::Acknowledged { id: puback.pkid, refused: None },
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

fn refusals(suback: &SubAck) -> Vec<Option<String>> {
    let reason = |code: &SubscribeReasonCode| match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::Failure => Some("refused".to_owned()),
    };
    suback.return_codes.iter().map(reason).collect()
}
