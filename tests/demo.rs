use std::fs;

use crate::process::{PATIENCE, Program, Running};

/// Three readings decrypted, each beside the frame that the broker saw of it.
fn assert_shows_three_readings(mut running: Running) {
    let code = running.wait_exit(PATIENCE);
    assert_eq!(code, 0, "{}", running.output());
    let lines = running.stdout();
    let readings = lines.iter().filter_map(|line| line.strip_prefix("[Decrypted] "));
    let readings: Vec<&str> = readings.filter_map(|line| line.split(" (Decryption Time: ").next()).collect();
    assert_eq!(readings.len(), 3, "{}", running.output());
    for reading in &readings {
        let value: serde_json::Value = serde_json::from_str(reading).unwrap();
        assert!(value["heart_rate"].is_number(), "{reading}");
    }
    // A frame begins with its type, version 1 and kind 7.
    let frames: Vec<&String> = lines.iter().filter(|line| line.starts_with("[Broker] telemetry/demo 17")).collect();
    assert!(frames.len() >= 3, "{}", running.output());
    // "heart_rate"
    let field = "68656172745f72617465";
    assert!(frames.iter().all(|line| !line.contains(field)));
    // Nothing of it is left behind.
    assert_eq!(fs::read_dir(running.home().state()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(running.home().path()).unwrap().count(), 0);
}

#[test]
fn a_bare_machine_shows_it_all_in_one_command() {
    assert_shows_three_readings(Program::subscriber().args(["demo", "-C", "3"]).start());
}

#[test]
fn the_same_on_mosquitto() {
    // Asks the harness whether there is one.
    let Some(_broker) = crate::broker::Setup::new().restartable().start() else { return };
    assert_shows_three_readings(Program::subscriber().args(["demo", "--with", "mosquitto", "-C", "3"]).start());
}

#[test]
fn it_ends_cleanly_on_ctrl_c() {
    let mut running = Program::subscriber().args(["demo"]).start();
    running.wait_for("[Decrypted] ");
    assert_eq!(running.interrupt(), 0, "{}", running.output());
}
