//! A subscriber of many topics, killed while it has replay windows in its log.

use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};
use securemqtt_client::publisher::Publisher;
use securemqtt_client::state::StateDir;
use securemqtt_core::Qos;
use securemqtt_core::publisher::Config;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::broker::Broker;
use crate::library::started;
use crate::parties::{KEYED, Party, introduced, reading};
use crate::process::{PATIENCE, Running};
use crate::tail::{lines, patient_broker};

/// So many that what a transaction stores of them is scattered.
const TOPICS: usize = 200;
/// Readings at once; one topic of so many has the next.
const GROUP: usize = 8;
const STRIDE: usize = 37;
const GROUPS: usize = 300;
/// Groups between two kills.
const LIFE: usize = 25;

/// Where the log is, in the database of the state.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

#[test]
fn killed_with_windows_in_its_log_it_writes_each_reading_once_and_in_order() {
    let Some(broker) = patient_broker() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(kill_again_and_again(&broker));
}

async fn kill_again_and_again(broker: &Broker) {
    let (party, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let start = || {
        let running = subscriber.at(broker).args(["-F", "%t %p", "-o", file.to_str().unwrap()]).start();
        running.wait_for("Connected to broker");
        running
    };
    let mut reading_on = start();
    let state = StateDir::open(party.state()).unwrap();
    let engine = Config { spool_max: 1 << 20, ..Config::new(party.name.parse().unwrap()) };
    let mut publisher = started(broker, &state, engine).await;
    drive_until(&mut publisher, || reading_on.stderr().iter().any(|line| line.contains(KEYED)), "keys").await;
    let mut logged = 0;
    for group in 0..GROUPS {
        publish(&mut publisher, group * GROUP).await;
        if group % LIFE == LIFE - 1 {
            // Some are on their way, some in the file, some stored.
            drive_until(&mut publisher, || lines(&file).len() >= group * GROUP / 2, "readings").await;
            kill(&mut reading_on);
            logged += usize::from(entries(&subscriber) > 0);
            reading_on = start();
        }
    }
    assert!(logged > GROUPS / LIFE / 2, "{logged} of {} were killed with something in the log", GROUPS / LIFE);
    drive_until(&mut publisher, || lines(&file).len() >= GROUPS * GROUP, "the rest").await;
    // What was forgotten would be asked for, and come again, before it says that it has everything.
    publisher.confirm_all();
    publisher.watch();
    while !publisher.engine().unreported().is_empty() {
        timeout(PATIENCE, publisher.next()).await.expect("it never has everything").unwrap();
    }
    assert_eq!(reading_on.interrupt(), 0, "{}", reading_on.output());
    let out = lines(&file);
    for topic in 0..TOPICS {
        let wanted: Vec<String> =
            (0..GROUPS * GROUP).filter(|number| number * STRIDE % TOPICS == topic).map(reading).collect();
        let name = name(topic);
        let of_topic: Vec<&str> =
            out.iter().filter_map(|line| line.split_once(' ').filter(|(t, _)| *t == name)).map(|(_, p)| p).collect();
        assert_eq!(of_topic, wanted, "{name}");
    }
    publisher.finish(PATIENCE).await.unwrap();
}

fn name(topic: usize) -> String {
    format!("telemetry/ward-7/bed-{topic}")
}

async fn publish(publisher: &mut Publisher, first: usize) {
    for number in first..first + GROUP {
        while !publisher.is_ready() {
            publisher.next().await.unwrap();
        }
        let (topic, reading) = (name(number * STRIDE % TOPICS), reading(number));
        publisher.publish(&topic, &[reading.as_bytes()], Qos::AtLeastOnce, false).unwrap();
    }
    // A group is a transaction or two of the subscriber.
    drive(publisher, Duration::from_millis(10)).await;
}

/// Lets the publisher do what it has to for so long.
async fn drive(publisher: &mut Publisher, time: Duration) {
    let end = Instant::now() + time;
    while let Ok(told) = timeout(end.saturating_duration_since(Instant::now()), publisher.next()).await {
        told.unwrap();
    }
}

async fn drive_until(publisher: &mut Publisher, holds: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "no {what}");
        drive(publisher, Duration::from_millis(5)).await;
    }
}

fn kill(running: &mut Running) {
    running.signal("KILL");
    running.wait_exit(PATIENCE);
}

/// How many entries the log of a party that was killed has. Looked at in a copy: opening it mends it.
fn entries(party: &Party) -> u64 {
    let copy = TempDir::new().unwrap();
    let file = copy.path().join("state.redb");
    std::fs::copy(party.state().join("state.redb"), &file).unwrap();
    let database = Database::open(&file).unwrap();
    let transaction = database.begin_read().unwrap();
    transaction.open_table(LOG).unwrap().len().unwrap()
}
