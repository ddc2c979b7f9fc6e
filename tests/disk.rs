use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::broker::{Broker, Setup};
use crate::eavesdropper::Eavesdropper;
use crate::parties::{EXCHANGED, KEPT, Party, introduced, readings};
use crate::process::{PATIENCE, Program, Running};
use crate::tail::{LOOK, STRACE, can_trace, lines, patient_broker, wait_for_lines, writing};

const FULL: &str = "the state cannot be stored, so nothing is acknowledged: the disk is full";
const READ_ONLY: &str = "the state cannot be stored, so nothing is acknowledged: the file system is read-only";
const AGAIN: &str = "the state can be stored again; it goes on";

/// A party's state directory on a file system of 2 MB, in a mount namespace that ends with this value, whatever happens.
struct SmallDisk {
    /// Holds the namespace until its stdin is closed.
    holder: Child,
    state: PathBuf,
}

impl SmallDisk {
    /// `None`, and a line on stderr with the test's name, where this is not permitted.
    fn of(party: &Party) -> Option<Self> {
        let state = party.state();
        let script = "cp -a \"$0\" \"$0.kept\" && mount -t tmpfs -o size=2m,mode=700 tmpfs \"$0\" && \
                      cp -a \"$0.kept/.\" \"$0\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(&state);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let disk = Self { holder, state };
        if said == "mounted\n" {
            return Some(disk);
        }
        let test = thread::current();
        let why =
            format!("{}: SKIPPED, mounting a file system is not permitted here\n", test.name().unwrap_or_default());
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        None
    }

    /// The program of the party, where it sees its small disk.
    fn holds(&self, program: Program) -> Program {
        let pid = self.holder.id().to_string();
        program.under(Path::new("nsenter"), &["-t", &pid, "-U", "-m", "--preserve-credentials"])
    }

    /// The namespace's files as they are seen from here.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.state.strip_prefix("/").unwrap()).join(name)
    }

    /// A file eats the rest.
    fn fill(&self) {
        let mut filler = File::create(self.file("filler")).unwrap();
        loop {
            match filler.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.file("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// What a stranger may send: a subscriber keeps it for a while, for it may be of a run that it learns of later.
fn stray_frame(number: u8) -> Vec<u8> {
    [vec![0x17, number, 1, 2, 3, 4, 0, 0], vec![7; 100_000]].concat()
}

fn wait_for_after(running: &Running, mark: usize, text: &str) {
    running.wait_for_line_after(mark, |line| line.contains(text), PATIENCE);
}

/// A reading of a kilobyte: what a small disk has left is soon used up.
fn long_reading(number: usize) -> String {
    format!("{{\"n\": {number}, \"notes\": \"{}\"}}", "-".repeat(1_000))
}

fn long_readings(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(long_reading).collect()
}

fn typed(publishing: &mut Running, numbers: std::ops::Range<usize>) {
    publishing.type_line(&readings(numbers).join("\n"));
}

#[test]
fn a_subscriber_whose_disk_fills_acknowledges_only_what_is_stored() {
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let Some(disk) = SmallDisk::of(&subscriber) else { return };
    let stranger = Eavesdropper::listen(&broker);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let start = || disk.holds(writing(&subscriber, &broker, &file)).start();
    let mut reading_on = start();
    reading_on.wait_for("Connected to broker");
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();
    publishing.wait_for(EXCHANGED);
    typed(&mut publishing, 0..5);
    wait_for_lines(&file, 5);

    disk.fill();
    stranger.publish("telemetry/stray", &stray_frame(1), false);
    reading_on.wait_for(FULL);
    // What comes is put out all the same.
    typed(&mut publishing, 5..10);
    wait_for_lines(&file, 10);
    disk.make_room();
    reading_on.wait_for(AGAIN);
    typed(&mut publishing, 10..15);
    wait_for_lines(&file, 15);

    let mark = reading_on.mark();
    disk.fill();
    stranger.publish("telemetry/stray", &stray_frame(2), false);
    wait_for_after(&reading_on, mark, FULL);
    typed(&mut publishing, 15..20);
    wait_for_lines(&file, 20);
    // From here on nobody but the broker could bring them again.
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    reading_on.signal("KILL");
    reading_on.wait_exit(PATIENCE);
    disk.make_room();
    reading_on = start();
    // The file is cut back to what was stored by then.
    reading_on.wait_for("Connected to broker");
    wait_for_lines(&file, 20);
    assert_eq!(reading_on.interrupt(), 0, "{}", reading_on.output());
    assert_eq!(lines(&file), readings(0..20), "each once");
}

/// Types readings, one after the other, until the program says something.
fn typed_until(publishing: &mut Running, from: usize, text: &str) -> usize {
    let mark = publishing.mark();
    let deadline = Instant::now() + PATIENCE;
    let mut next = from;
    while !publishing.output().lines().skip(mark).any(|line| line.contains(text)) {
        assert!(Instant::now() < deadline, "{next} readings, and no {text:?} in: {}", publishing.output());
        publishing.type_line(&long_reading(next));
        next += 1;
        thread::sleep(LOOK);
    }
    next
}

/// Types readings until the disk is full, and then as many more as surely find no room: fewer than it holds unstored.
fn typed_until_full(publishing: &mut Running, from: usize) -> usize {
    let next = typed_until(publishing, from, FULL);
    publishing.type_line(&long_readings(next..next + 100).join("\n"));
    next + 100
}

#[test]
fn a_publisher_whose_disk_fills_sends_what_it_took_when_there_is_room() {
    let Some(mut broker) = Setup::new().line("max_queued_messages 0").restartable().start() else { return };
    let (publisher, subscriber) = introduced();
    let Some(disk) = SmallDisk::of(&publisher) else { return };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for("Connected to broker");
    let start =
        |broker: &Broker| disk.holds(publisher.at(broker).args(["-l", "--tick-every", "1s"])).open_input().start();
    let mut publishing = start(&broker);
    publishing.wait_for(EXCHANGED);
    publishing.type_line(&long_reading(0));
    wait_for_lines(&file, 1);

    disk.fill();
    let next = typed_until_full(&mut publishing, 1);
    disk.make_room();
    publishing.wait_for(AGAIN);
    wait_for_lines(&file, next);
    assert_eq!(lines(&file), long_readings(0..next), "each once, in order");

    // What it sends now nobody keeps but its spool: the broker will forget it.
    assert_eq!(reading_on.interrupt(), 0);
    let eavesdropper = Eavesdropper::listen(&broker);
    disk.fill();
    let last = typed_until_full(&mut publishing, next);
    publishing.signal("KILL");
    publishing.wait_exit(PATIENCE);
    let sent = readings_on(&broker, &eavesdropper);
    broker.kill();
    broker.start_again();
    disk.make_room();
    publishing = start(&broker);
    publishing.wait_for(KEPT);
    publishing.type_line(&long_reading(last));
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    // Whatever was sent was stored before, and so it is there.
    wait_for_lines(&file, next + sent + 1);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    assert_eq!(reading_on.interrupt(), 0);
    let came: BTreeSet<String> = lines(&file).into_iter().collect();
    assert_eq!(came.len(), lines(&file).len(), "each once");
    assert!(came.contains(&long_reading(last)));
    let stored = came.len() - 1;
    assert!((next..last).contains(&stored), "{stored} of {next}..{last}");
    assert!(long_readings(0..stored).iter().all(|reading| came.contains(reading)), "what was stored, and all of it");
}

/// How many readings have crossed the broker, each counted once.
fn readings_on(broker: &Broker, eavesdropper: &Eavesdropper) -> usize {
    // Behind everything that the broker had already.
    let other = Eavesdropper::listen(broker);
    other.publish("telemetry/mark", b"", false);
    eavesdropper.wait_for(|heard| heard.topic == "telemetry/mark", PATIENCE);
    let heard = eavesdropper.heard();
    let frames = heard.iter().filter(|heard| heard.topic == "telemetry/ward-7");
    frames.map(|heard| &heard.payload).collect::<BTreeSet<_>>().len()
}

#[test]
fn a_signal_ends_a_publisher_whose_disk_is_full() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let Some(disk) = SmallDisk::of(&publisher) else { return };
    let reading_on = subscriber.at(&broker).start();
    reading_on.wait_for("Connected to broker");
    let mut publishing = disk.holds(publisher.at(&broker).args(["-l"])).open_input().start();
    publishing.wait_for(EXCHANGED);
    disk.fill();
    typed_until_full(&mut publishing, 0);
    publishing.signal("TERM");
    assert_eq!(publishing.wait_exit(PATIENCE), 74, "{}", publishing.output());
    publishing.wait_for("cannot store the state in");
}

/// A file system that turns read-only under an open file (as ext4 does on an error, and no unprivileged test can cause):
/// the calls that write to the state fail, for a few seconds, from somewhere in the middle on.
fn turning_read_only(party: &Party, program: Program) -> Program {
    let state = party.state().join("state.redb");
    let calls = "pwrite64,fdatasync";
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=EROFS:when=60..64"));
    let options = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        state.to_str().unwrap(),
        "-e",
        "signal=none",
        "-e",
        &trace,
        "-e",
        &inject,
    ];
    program.under(Path::new(STRACE), &options)
}

#[test]
fn a_subscriber_whose_disk_turns_read_only_goes_on_when_it_is_back() {
    if !can_trace() {
        return;
    }
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let reading_on = turning_read_only(&subscriber, writing(&subscriber, &broker, &file)).start();
    reading_on.wait_for("Connected to broker");
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();
    publishing.wait_for(EXCHANGED);
    let mut next = 0;
    let deadline = Instant::now() + PATIENCE;
    while !reading_on.output().contains(READ_ONLY) {
        assert!(Instant::now() < deadline, "{}", reading_on.output());
        typed(&mut publishing, next..next + 1);
        next += 1;
        wait_for_lines(&file, next);
    }
    typed(&mut publishing, next..next + 5);
    wait_for_lines(&file, next + 5);
    reading_on.wait_for(AGAIN);
    typed(&mut publishing, next + 5..next + 10);
    wait_for_lines(&file, next + 10);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    crate::tail::end(reading_on, &subscriber, "INT");
    assert_eq!(lines(&file), readings(0..next + 10));
}

#[test]
fn a_publisher_whose_disk_turns_read_only_goes_on_when_it_is_back() {
    if !can_trace() {
        return;
    }
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for("Connected to broker");
    let mut publishing = turning_read_only(&publisher, publisher.at(&broker).args(["-l"])).open_input().start();
    publishing.wait_for(EXCHANGED);
    let next = typed_until(&mut publishing, 0, READ_ONLY);
    publishing.type_line(&long_readings(next..next + 5).join("\n"));
    publishing.wait_for(AGAIN);
    publishing.type_line(&long_readings(next + 5..next + 10).join("\n"));
    wait_for_lines(&file, next + 10);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(lines(&file), long_readings(0..next + 10));
}
