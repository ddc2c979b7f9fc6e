//! How a connection over MQTT 3.1.1 fails: rumqttc's errors, in our words.

use rumqttc_v4::{ConnectReturnCode, ConnectionError, StateError};

use crate::mqtt::error::LinkError;
use crate::mqtt::options::BrokerOptions;

pub(super) fn fault(error: &ConnectionError, options: &BrokerOptions) -> LinkError {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code, options),
        ConnectionError::MqttState(StateError::ConnectionAborted) => LinkError::closed_by_broker(options),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc_v4::Error::PayloadSizeLimitExceeded {
            ..
        })) => LinkError::oversized(options),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc_v4::Error::Io(error))) => {
            LinkError::from_source(options, error)
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            LinkError::not_mqtt(options, error)
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => LinkError::lost(options, "it no longer answers"),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => LinkError::timed_out(options),
        other => LinkError::from_source(options, other),
    }
}

fn refused(code: ConnectReturnCode, options: &BrokerOptions) -> LinkError {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword => LinkError::bad_credentials(options),
        Code::NotAuthorized => LinkError::not_authorized(options),
        Code::BadClientId => LinkError::bad_client_id(options),
        Code::RefusedProtocolVersion => LinkError::unsupported_version(options),
        other => LinkError::refused(options, &format!("{other:?}")),
    }
}
