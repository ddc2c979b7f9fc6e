//! One test for each broker and version of MQTT.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::brokers::{EJABBERD, MOSQUITTO, MQTT5, NATS, RABBITMQ, RUMQTTD, Recipe};
use super::connack::Mqtt;
use super::quirks::{Ends, TRY_311, quirk};
use super::server::Server;
use super::set::{SET, Step, TROUBLE};
use super::stage::Stage;
use super::table::{Found, print};
use crate::parties::{RAW, introduced};

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
    let quirk = quirk(server.name(), server.mqtt(), step.name);
    let stage = Arc::new(Stage::new(quirk));
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (step.run)(server, &stage)));
    match (outcome, quirk) {
        (Ok(()), Some(quirk)) if quirk.ends == Ends::FailsSafe => {
            Found::Fails(format!("it holds, although {}", quirk.why))
        }
        (Ok(()), quirk) => {
            let may_say: Vec<&str> = step.may_say.iter().copied().chain(quirk.map(|quirk| quirk.says)).collect();
            match stage.tells_of(&TROUBLE, &may_say).as_slice() {
                [] => Found::Holds(began.elapsed()),
                lines => Found::Fails(format!("it holds, but somebody said {lines:?}")),
            }
        }
        (Err(_), Some(quirk)) if stage.was_said(quirk.says) && stage.is_right_as_far_as_it_goes() => {
            Found::FailsSafe(quirk.why)
        }
        (Err(why), _) => Found::Fails(text(&*why)),
    }
}

/// Both programs are told what to try at a broker that does not speak MQTT 5, and nothing comes out.
fn is_told_what_to_try_at(recipe: &'static Recipe) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(server) = Server::start(recipe, Mqtt::V311) else { return };
    let (publisher, subscriber) = introduced();
    for party in [publisher, subscriber] {
        let program = server.reached_in(Mqtt::V5, party.program());
        let program = if party.publishes() { program.args(["-m", "1"]) } else { program.args(RAW) };
        let running = program.start();
        let told = running.wait_for(TRY_311);
        assert!(told.contains("127.0.0.1"), "it says where: {told}");
        assert!(!running.output().contains("Connected to broker"), "{}", running.output());
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
fn nats_5() {
    is_told_what_to_try_at(&NATS);
}

#[test]
fn rabbitmq_5() {
    is_told_what_to_try_at(&RABBITMQ);
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
