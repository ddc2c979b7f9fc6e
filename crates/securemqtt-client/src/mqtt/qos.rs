//! The quality of service in rumqttc's terms, which are the same for both versions.

use rumqttc_v5::QoS;
use securemqtt_core::Qos;

pub(super) fn to_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

/// We never ask for QoS 2, so it never comes.
pub(super) fn from_qos(qos: QoS) -> Qos {
    if qos == QoS::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce }
}
