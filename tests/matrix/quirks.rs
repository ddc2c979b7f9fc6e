//! What a broker does by its own nature, against what is asked of it. Everything that does not stand here must hold
//! everywhere, without a word of trouble.

use super::connack::Mqtt;
use super::set::{DOT, LARGE, PAST_ITS_QUEUE};

/// What the two brokers that speak MQTT 3.1.1 only are tried with.
pub(super) const TRY_311: &str = "-V 311";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// It does not hold. Somebody is told this, and no reading comes out wrong or twice.
    FailsSafe,
    /// It holds, and somebody may be told this although nobody made trouble.
    HoldsAndTells,
}

/// One step at one broker.
pub(super) struct Quirk {
    pub(super) broker: &'static str,
    pub(super) mqtt: &'static [Mqtt],
    pub(super) step: &'static str,
    pub(super) ends: Ends,
    pub(super) says: &'static str,
    pub(super) why: &'static str,
}

pub(super) const QUIRKS: [Quirk; 5] = [
    Quirk {
        broker: "NATS",
        mqtt: &[Mqtt::V311],
        step: DOT,
        ends: Ends::FailsSafe,
        says: "times over this message",
        why: "a dot separates its own subjects: it closes the connection over one in a topic",
    },
    Quirk {
        broker: "RabbitMQ",
        mqtt: &[Mqtt::V311],
        step: DOT,
        ends: Ends::FailsSafe,
        says: "not received",
        why: "a dot separates its own keys: it delivers a.b as a/b, which nobody can open",
    },
    Quirk {
        broker: "rumqttd",
        mqtt: &[Mqtt::V311, Mqtt::V5],
        step: LARGE,
        ends: Ends::FailsSafe,
        says: "times over this message",
        why: "its max_payload_size, 20 kB as it comes, closes the connection without a word",
    },
    Quirk {
        broker: "ejabberd",
        mqtt: &[Mqtt::V5],
        step: PAST_ITS_QUEUE,
        ends: Ends::HoldsAndTells,
        says: "message queue is overloaded",
        why: "it has one message under way at a time, and throws out a connected client, too, whose queue is full",
    },
    Quirk {
        broker: "ejabberd",
        mqtt: &[Mqtt::V311],
        step: PAST_ITS_QUEUE,
        ends: Ends::HoldsAndTells,
        says: "closed the connection",
        why: "the same, and MQTT 3.1.1 has no word for it",
    },
];

pub(super) fn quirk(broker: &str, mqtt: Mqtt, step: &str) -> Option<&'static Quirk> {
    QUIRKS.iter().find(|quirk| quirk.broker == broker && quirk.step == step && quirk.mqtt.contains(&mqtt))
}
