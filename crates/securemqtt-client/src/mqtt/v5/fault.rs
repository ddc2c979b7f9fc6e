//! How a connection over MQTT 5 fails: rumqttc's errors, in our words.

use rumqttc_v5::{ConnectReturnCode, ConnectionError, DisconnectReasonCode, StateError};

use crate::mqtt::error::LinkError;
use crate::mqtt::options::BrokerOptions;

/// Mosquitto's `message_size_limit` answers a PUBLISH with this reason in a PUBACK, where the standard does not have it:
/// rumqttc ends the connection over that.
const PACKET_TOO_LARGE: u8 = 0x95;

pub(super) fn fault(error: &ConnectionError, options: &BrokerOptions) -> LinkError {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code, options),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => match reason_code {
            DisconnectReasonCode::SessionTakenOver => LinkError::taken_over(options),
            DisconnectReasonCode::NotAuthorized => LinkError::not_authorized(options),
            DisconnectReasonCode::PacketTooLarge => LinkError::refused_size(options),
            code => {
                let said = reason_string.as_ref().map_or_else(String::new, |text| format!(": {text}"));
                LinkError::lost(options, &format!("the broker disconnected us, {code:?} (0x{:02x}){said}", *code as u8))
            }
        },
        ConnectionError::MqttState(StateError::ConnectionAborted) => LinkError::closed_by_broker(options),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc_v5::Error::PayloadSizeLimitExceeded {
            ..
        })) => LinkError::oversized(options),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc_v5::Error::Io(error))) => {
            LinkError::from_source(options, error)
        }
        ConnectionError::MqttState(StateError::Deserialization(rumqttc_v5::Error::InvalidConnectReturnCode(
            PACKET_TOO_LARGE,
        ))) => LinkError::refused_size(options),
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            LinkError::not_mqtt(options, error)
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => LinkError::lost(options, "it no longer answers"),
        ConnectionError::Timeout(_) => LinkError::timed_out(options),
        other => LinkError::from_source(options, other),
    }
}

fn refused(code: ConnectReturnCode, options: &BrokerOptions) -> LinkError {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword | Code::BadAuthenticationMethod => LinkError::bad_credentials(options),
        Code::NotAuthorized | Code::Banned => LinkError::not_authorized(options),
        Code::BadClientId | Code::ClientIdentifierNotValid => LinkError::bad_client_id(options),
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => LinkError::unsupported_version(options),
        other => LinkError::refused(options, &format!("{other:?}")),
    }
}
