//! The three settings of the broker. In each of them everything may happen to everybody.

use std::io::Write as _;

use super::driver::Driver;
use super::plan::Wishes;
use crate::broker::Setup;

fn exactly_once(setting: &str, setup: Setup) {
    let Some(broker) = setup.start() else { return };
    let wishes = Wishes::from_environment();
    let _ = writeln!(std::io::stderr(), "chaos: {setting}, SECUREMQTT_CHAOS_SEED={}", wishes.seed);
    let mut driver = Driver::start(broker, wishes.seed);
    driver.strike(wishes.victims.as_deref().unwrap_or("all"), &wishes);
    let outcome = driver.settle();
    outcome.report(setting, wishes.seed);
    outcome.assert_exactly_once();
}

#[test]
fn a_broker_that_keeps_everything() {
    exactly_once("durable", Setup::new().persistent());
}

#[test]
fn a_broker_with_the_defaults_of_mosquitto() {
    let setup = Setup::new().restartable().line("persistence true").line("persistence_location ./");
    exactly_once("defaults", setup.line("max_queued_messages 1000"));
}

#[test]
fn a_broker_without_a_disk() {
    exactly_once("persistence off", Setup::new().restartable());
}
