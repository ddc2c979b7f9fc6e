//! What a subscriber wrote to a file, and programs that die exactly at a durable write.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Setup};
use crate::parties::{Party, RAW};
use crate::process::{PATIENCE, Program, Running, send_signal};

/// Between two looks at a file.
pub(crate) const LOOK: Duration = Duration::from_millis(5);
pub(crate) const STRACE: &str = "/usr/bin/strace";

/// A broker that drops nothing of a subscriber that is away.
pub(crate) fn patient_broker() -> Option<Broker> {
    Setup::new().line("max_queued_messages 0").start()
}

pub(crate) fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub(crate) fn wait_until(file: &Path, holds: impl Fn(usize) -> bool, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(lines(file).len()) {
        assert!(
            Instant::now() < deadline,
            "{} lines in the file, not {wanted}: {:?}",
            lines(file).len(),
            lines(file).iter().rev().take(3).collect::<Vec<_>>()
        );
        thread::sleep(LOOK);
    }
}

pub(crate) fn wait_for_lines(file: &Path, count: usize) {
    wait_until(file, |lines| lines >= count, &count.to_string());
}

pub(crate) fn wait_until_empty(file: &Path) {
    wait_until(file, |lines| lines == 0, "none");
}

/// Whether there is strace; where not, a line on stderr says what was skipped.
pub(crate) fn can_trace() -> bool {
    let here = Path::new(STRACE).exists();
    if !here {
        let test = thread::current();
        let why = format!("{}: SKIPPED, there is no strace\n", test.name().unwrap_or_default());
        std::io::stderr().write_all(why.as_bytes()).unwrap();
    }
    here
}

/// It dies at its n-th call of these.
pub(crate) fn dying_at(program: Program, calls: &str, nth: usize) -> Running {
    let (trace, when) = (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={nth}"));
    let options = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &when];
    program.under(Path::new(STRACE), &options).start()
}

/// It dies at its first call of `call`, and each of `slow` takes 100 ms.
pub(crate) fn dying_with_slow(program: Program, call: &str, slow: &str) -> Running {
    let trace = format!("trace={call},{slow}");
    let (when, delay) = (format!("inject={call}:signal=KILL:when=1"), format!("inject={slow}:delay_enter=100000"));
    program.under(Path::new(STRACE), &["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &when, "-e", &delay]).start()
}

/// Under strace it is the program that gets the signal, and strace ends with it.
pub(crate) fn end(mut running: Running, subscriber: &Party, signal: &str) {
    if !running.has_ended() {
        let pid = fs::read_to_string(subscriber.state().join("lock")).unwrap();
        send_signal(signal, pid.trim().parse().unwrap());
    }
    running.wait_exit(PATIENCE);
}

pub(crate) fn writing(subscriber: &Party, broker: &Broker, file: &Path) -> Program {
    subscriber.at(broker).args(RAW).args(["-o", file.to_str().unwrap()])
}

/// A copy of a party's state directory.
pub(crate) fn copied(party: &Party, to: &Path) {
    copy(&party.state(), to);
}

/// The copy in its place again.
pub(crate) fn copied_back(from: &Path, party: &Party) {
    copy(from, &party.state());
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}
