use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{Broker, Setup};
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::parties::{EXCHANGED, KEPT, KEYED, Party, RAW, introduced, reading, readings};
use crate::process::{PATIENCE, Program, Running};
use crate::tail::{
    LOOK, STRACE, can_trace, copied, copied_back, dying_at, end, lines, patient_broker, wait_for_lines,
    wait_until_empty, writing,
};

#[test]
fn killed_again_and_again_it_writes_each_reading_once_and_in_order() {
    const COUNT: usize = 1_500;
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for("Connected to broker");
    let mut publishing = publisher.at(&broker).args(["-l", "--interval", "1ms"]).open_input().start();
    publishing.type_line(&readings(0..COUNT).join("\n"));
    for kill in 0..10 {
        wait_for_lines(&file, kill * COUNT / 12);
        // A moment of its own for each.
        thread::sleep(Duration::from_micros((kill as u64 * 7_919) % 20_000));
        reading_on.signal("KILL");
        reading_on.wait_exit(PATIENCE);
        reading_on = writing(&subscriber, &broker, &file).start();
    }
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    wait_for_lines(&file, COUNT);
    assert_eq!(reading_on.interrupt(), 0, "{}", reading_on.output());
    assert_eq!(lines(&file), readings(0..COUNT));
}

#[test]
fn it_dies_at_any_durable_write_and_goes_on_from_there() {
    if !can_trace() {
        return;
    }
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    // It knows its publisher already.
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    let mut publishing = publisher.at(&broker).args(["-l", "--rotate-every", "2s"]).open_input().start();
    reading_on.wait_for(KEYED);
    publishing.wait_for(EXCHANGED);
    assert_eq!(reading_on.interrupt(), 0);
    let mut typed = 0;
    let mut killed = 0;
    for write in 1..=12 {
        let mut dying = dying_at(writing(&subscriber, &broker, &file), "fdatasync,fsync", write);
        let deadline = Instant::now() + Duration::from_secs(3);
        while !dying.has_ended() && Instant::now() < deadline {
            publishing.type_line(&reading(typed));
            typed += 1;
            thread::sleep(Duration::from_millis(30));
        }
        killed += usize::from(dying.has_ended());
        end(dying, &subscriber, "INT");
    }
    assert!(killed >= 6, "only {killed} of 12 died at a write");
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for("Connected to broker");
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    wait_for_lines(&file, typed);
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(lines(&file), readings(0..typed));
}

/// Groups are as large as they get when the broker waits for no acknowledgement.
#[test]
fn it_dies_within_a_backlog_and_loses_nothing_of_it() {
    const COUNT: usize = 1_500;
    if !can_trace() {
        return;
    }
    let Some(broker) = Setup::new().line("max_queued_messages 0").line("max_inflight_messages 0").start() else {
        return;
    };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();
    publishing.wait_for(EXCHANGED);
    publishing.type_line(&reading(0));
    wait_for_lines(&file, 1);
    assert_eq!(reading_on.interrupt(), 0);
    publishing.type_line(&readings(1..COUNT).join("\n"));
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    for write in 3..=10 {
        let mut dying = dying_at(writing(&subscriber, &broker, &file), "fdatasync", write);
        let deadline = Instant::now() + Duration::from_secs(2);
        while !dying.has_ended() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        end(dying, &subscriber, "INT");
    }
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for("Connected to broker");
    wait_for_lines(&file, COUNT);
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(lines(&file), readings(0..COUNT));
}

/// Many file systems find out that they are full when data is synced, and drop it then.
#[test]
fn a_line_that_could_not_be_synced_is_written_again() {
    if !can_trace() {
        return;
    }
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let (file, syncs) = (directory.path().join("out"), directory.path().join("syncs"));
    fs::write(&file, "").unwrap();
    let log = ["-f", "-qq", "-e", "signal=none", "-o", syncs.to_str().unwrap(), "-P", file.to_str().unwrap()];
    let on_a_full_disk = |when: &str| {
        let inject = format!("inject=fdatasync:error=ENOSPC{when}");
        let options = [&log[..], &["-e", "trace=fdatasync", "-e", &inject]].concat();
        writing(&subscriber, &broker, &file).under(Path::new(STRACE), &options).start()
    };
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();

    let full = on_a_full_disk("");
    publishing.wait_for(EXCHANGED);
    publishing.type_line(&reading(0));
    full.wait_for("readings wait, and go on when there is room");
    // One that takes the line for written has nothing to sync again.
    wait_for_lines(&syncs, 3);
    wait_until_empty(&file);
    end(full, &subscriber, "KILL");

    let full_at_first = on_a_full_disk(":when=1..2");
    full_at_first.wait_for("there is room again");
    publishing.type_line(&reading(1));
    wait_for_lines(&file, 2);
    end(full_at_first, &subscriber, "INT");
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(lines(&file), readings(0..2), "each once");
}

fn requests(eavesdropper: &Eavesdropper) -> usize {
    let is_request = |heard: &&Heard| heard.is("in") && heard.payload.first() == Some(&0x12);
    eavesdropper.heard().iter().filter(is_request).count()
}

#[test]
fn a_restart_needs_no_handshake_and_shows_no_replay() {
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let eavesdropper = Eavesdropper::listen(&broker);
    let mut reading_on = subscriber.at(&broker).args(RAW).start();
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();
    publishing.wait_for(EXCHANGED);
    for number in 0..5 {
        publishing.type_line(&reading(number));
        reading_on.wait_for(&reading(number));
    }
    let is_frame = |heard: &Heard| heard.topic == "telemetry/ward-7";
    eavesdropper.wait_for_count(5, is_frame, PATIENCE);
    let frames: Vec<Heard> = eavesdropper.heard().into_iter().filter(is_frame).collect();
    assert_eq!(frames.len(), 5);
    let replay = || {
        for heard in &frames {
            eavesdropper.publish(&heard.topic, &heard.payload, false);
        }
    };
    let before = requests(&eavesdropper);
    assert!(before > 0, "nothing would be noticed");
    for (ending, number) in [("INT", 98), ("KILL", 99)] {
        reading_on.signal(ending);
        reading_on.wait_exit(PATIENCE);
        // What the broker could do, it does: everything once more, before and after the start.
        replay();
        reading_on = subscriber.at(&broker).args(RAW).start();
        reading_on.wait_for("Connected to broker");
        replay();
        publishing.type_line(&reading(number));
        reading_on.wait_for(&reading(number));
        let mut shown = reading_on.stdout();
        // Killed right behind a reading, it may not have stored that it was shown.
        shown.retain(|line| ending == "INT" || *line != reading(98));
        assert_eq!(shown, [reading(number)], "after {ending}");
    }
    assert_eq!(requests(&eavesdropper), before, "nobody was asked anything");
    assert_eq!(reading_on.interrupt(), 0);
}

/// Whether the one reading that comes while the subscriber is away is marked.
fn marked_after(ending: &str) -> bool {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let as_json = || subscriber.at(&broker).args(["--output", "json"]).start();
    let mut reading_on: Running = as_json();
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();
    publishing.wait_for(EXCHANGED);
    publishing.type_line(&reading(1));
    reading_on.wait_for("\"n\":1");
    reading_on.signal(ending);
    reading_on.wait_exit(PATIENCE);
    publishing.type_line(&reading(2));
    let reading_on = as_json();
    reading_on.wait_for("\"n\":2").contains("\"redelivered\":true")
}

#[test]
fn a_pipe_is_told_what_may_come_again_after_a_kill() {
    assert!(marked_after("KILL"));
    assert!(!marked_after("INT"));
}

/// Both with state that is sealed at rest: sessions go on over restarts as any other's.
#[test]
fn sealed_state_is_taken_up_again_by_both() {
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let sealed = |party: &Party, program: Program| {
        let key = party.state().join("key");
        fs::write(&key, [party.id.as_bytes(), &[7; 32]].concat()).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        program.args(["--state-key-file", key.to_str().unwrap()])
    };
    let eavesdropper = Eavesdropper::listen(&broker);
    for run in 0..3 {
        let mut reading_on = sealed(&subscriber, subscriber.at(&broker).args(RAW)).start();
        reading_on.wait_for("Connected to broker");
        let mut publishing = sealed(&publisher, publisher.at(&broker).args(["-l"])).open_input().start();
        publishing.wait_for(if run == 0 { EXCHANGED } else { KEPT });
        publishing.type_line(&reading(run));
        reading_on.wait_for(&reading(run));
        publishing.close_input();
        assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
        assert_eq!(reading_on.interrupt(), 0, "{}", reading_on.output());
        assert_eq!(reading_on.stdout(), [reading(run)]);
    }
    assert_eq!(requests(&eavesdropper), 1, "the keys of the first run were enough");
    for party in [&publisher, &subscriber] {
        let mut refused = party.at(&broker).start();
        assert_eq!(refused.wait_exit(PATIENCE), 78, "{}", refused.output());
    }
}

#[test]
fn damaged_state_is_refused_with_the_way_out() {
    let broker = Broker::start();
    let subscriber = Party::subscriber("station");
    let mut reading_on = subscriber.at(&broker).start();
    reading_on.wait_for("Connected to broker");
    assert_eq!(reading_on.interrupt(), 0);
    let state = subscriber.state().join("state.redb");
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let mut refused = subscriber.at(&broker).start();
    assert_eq!(refused.wait_exit(PATIENCE), 78, "{}", refused.output());
    refused.wait_for(&format!("mv {0} {0}.damaged", state.display()));
    fs::rename(&state, state.with_extension("damaged")).unwrap();
    let mut anew = subscriber.at(&broker).start();
    anew.wait_for("Connected to broker");
    assert_eq!(anew.interrupt(), 0);
}

/// A subscriber that read five readings, and its state as it was after two; its publisher goes on.
fn restored(broker: &Broker) -> (Party, Party, Eavesdropper, Running) {
    let (publisher, subscriber) = introduced();
    let eavesdropper = Eavesdropper::listen(broker);
    let mut reading_on = subscriber.at(broker).args(RAW).start();
    let mut publishing = publisher.at(broker).args(["-l", "--tick-every", "1s"]).open_input().start();
    publishing.wait_for(EXCHANGED);
    for number in 0..2 {
        publishing.type_line(&reading(number));
        reading_on.wait_for(&reading(number));
    }
    assert_eq!(reading_on.interrupt(), 0);
    let directory = TempDir::new().unwrap();
    let copy = directory.path().join("copy");
    copied(&subscriber, &copy);
    let mut reading_on = subscriber.at(broker).args(RAW).start();
    for number in 2..5 {
        publishing.type_line(&reading(number));
        reading_on.wait_for(&reading(number));
    }
    assert_eq!(reading_on.interrupt(), 0);
    fs::remove_dir_all(subscriber.state()).unwrap();
    copied_back(&copy, &subscriber);
    (publisher, subscriber, eavesdropper, publishing)
}

#[test]
fn a_restored_subscriber_shows_nothing_again_and_goes_on() {
    let Some(broker) = patient_broker() else { return };
    let (_publisher, subscriber, eavesdropper, mut publishing) = restored(&broker);
    let mut reading_on = subscriber.at(&broker).args(RAW).start();
    // Whatever the broker has seen it may deliver again.
    for heard in eavesdropper.heard().iter().filter(|heard| heard.topic == "telemetry/ward-7") {
        eavesdropper.publish(&heard.topic, &heard.payload, false);
    }
    reading_on.wait_for("was our state directory restored?");
    // What is sealed before the new keys is not shown either.
    reading_on.wait_for("AES key derived successfully!");
    publishing.type_line(&reading(5));
    reading_on.wait_for(&reading(5));
    assert_eq!(reading_on.stdout(), [reading(5)]);
    assert_eq!(reading_on.interrupt(), 0);
}

#[test]
fn who_accepts_the_rollback_is_shown_what_may_have_been_shown() {
    let Some(broker) = patient_broker() else { return };
    let (_publisher, subscriber, _eavesdropper, mut publishing) = restored(&broker);
    let mut reading_on = subscriber.at(&broker).args(RAW).args(["--accept-rollback"]).start();
    reading_on.wait_for("what comes may have been shown before");
    publishing.type_line(&reading(5));
    reading_on.wait_for(&reading(5));
    for number in 2..5 {
        reading_on.wait_for(&reading(number));
    }
    assert_eq!(reading_on.interrupt(), 0);
}
