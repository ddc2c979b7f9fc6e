//! One test for each broker and version of MQTT.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::brokers::{EJABBERD, MOSQUITTO, MQTT5, NATS, RABBITMQ, RUMQTTD, Recipe};
use super::cast::Said;
use super::connack::Mqtt;
use super::quirks::QUIRKS;
use super::server::Server;
use super::set::{SET, Step, unexpected};
use super::table::{Found, print};

/// The machine of whoever runs this may be small: one broker at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Asks everything, whatever the answers are; then fails if one of them is wrong.
fn all_of_the_set_at(recipe: &'static Recipe, mqtt: Mqtt) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut server) = Server::start(recipe, mqtt) else { return };
    let mut found = Vec::new();
    for step in &SET {
        found.push((step, ask(&mut server, step)));
    }
    print(&server, &found);
    let failed: Vec<&str> =
        found.iter().filter(|(_, found)| matches!(found, Found::Fails(_))).map(|(step, _)| step.name).collect();
    assert!(failed.is_empty(), "{failed:?} failed; the end of the broker's log:\n{}", server.last_words());
}

fn ask(server: &mut Server, step: &Step) -> Found {
    if !server.is_running() {
        server.start_again();
    }
    let said = Said::default();
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (step.run)(server, &said)));
    let said = said.lock().unwrap();
    let quirk = QUIRKS.iter().find(|it| (it.broker, it.mqtt, it.step) == (server.name(), server.mqtt(), step.name));
    match (outcome, quirk) {
        (Ok(()), None) => match unexpected(&said, step).as_slice() {
            [] => Found::Holds(began.elapsed()),
            lines => Found::Fails(format!("it holds, but somebody said {lines:?}")),
        },
        (Ok(()), Some(quirk)) => Found::Fails(format!("it holds, although {:?}", quirk.why)),
        (Err(_), Some(quirk)) if said.iter().any(|line| line.contains(quirk.says)) => Found::FailsSafe(quirk.why),
        (Err(why), _) => Found::Fails(text(&*why)),
    }
}

/// The message of a panic.
fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("a panic without a text").lines().take(3).collect::<Vec<_>>().join(" / ")
}

#[test]
fn mosquitto_5() {
    all_of_the_set_at(&MOSQUITTO, Mqtt::V5);
}

#[test]
fn mosquitto_311() {
    all_of_the_set_at(&MOSQUITTO, Mqtt::V311);
}

#[test]
fn nats_311() {
    all_of_the_set_at(&NATS, Mqtt::V311);
}

#[test]
fn rabbitmq_311() {
    all_of_the_set_at(&RABBITMQ, Mqtt::V311);
}

#[test]
fn ejabberd_5() {
    all_of_the_set_at(&EJABBERD, Mqtt::V5);
}

#[test]
fn ejabberd_311() {
    all_of_the_set_at(&EJABBERD, Mqtt::V311);
}

#[test]
fn rumqttd_5() {
    all_of_the_set_at(&RUMQTTD, Mqtt::V5);
}

#[test]
fn rumqttd_311() {
    all_of_the_set_at(&RUMQTTD, Mqtt::V311);
}

#[test]
fn mqtt5_5() {
    all_of_the_set_at(&MQTT5, Mqtt::V5);
}

#[test]
fn mqtt5_311() {
    all_of_the_set_at(&MQTT5, Mqtt::V311);
}
