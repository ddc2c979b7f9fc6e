#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::*;
use crate::state::StateDir;

/// A program that answers every question with its command, and refuses to rotate.
struct Program {
    state: StateDir,
    socket: ControlSocket,
    asked: Vec<Command>,
    _directory: TempDir,
}

impl Program {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path().join("state")).unwrap();
        Self::listen(state, directory)
    }

    fn listen(state: StateDir, directory: TempDir) -> Self {
        Self { socket: ControlSocket::bind(&state), state, asked: Vec::new(), _directory: directory }
    }

    async fn answer(&mut self) {
        let request = self.socket.next().await;
        self.asked.push(request.command);
        match request.command {
            Command::Rotate => request.refuse("not today"),
            command => request.reply(json!({ "asked": command })),
        }
    }

    /// Answers until whatever asks on another thread is done.
    async fn serve<T: Send + 'static>(&mut self, asking: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let path = self.state.path().to_owned();
        let mut asked = spawn_blocking(move || asking(&path));
        loop {
            tokio::select! {
                done = &mut asked => return done.unwrap(),
                () = self.answer() => {}
            }
        }
    }
}

fn connect(state: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket(state)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What the program says to these bytes; nothing when it just closes.
fn say(state: &Path, bytes: &[u8]) -> String {
    let mut stream = connect(state);
    // It may close while we are still talking.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[tokio::test]
async fn a_question_is_answered_or_refused() {
    let mut program = Program::start();
    let answer = program.serve(|path| ask(path, Command::Status)).await.unwrap();
    assert_eq!(answer, Some(json!({ "asked": { "command": "status" } })));
    let refusal = program.serve(|path| ask(path, Command::Rotate)).await.unwrap_err();
    assert!(matches!(&refusal, AskError::Refused(why) if why == "not today"), "{refusal}");
}

#[tokio::test]
async fn only_the_owner_may_ask_and_the_socket_goes_with_the_program() {
    let program = Program::start();
    let path = socket(program.state.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(program.socket);
    assert!(!path.exists());
    assert!(ask(program.state.path(), Command::Status).unwrap().is_none());
}

#[tokio::test]
async fn what_a_killed_program_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path().join("state")).unwrap();
    drop(UnixListener::bind(socket(state.path())).unwrap());
    assert!(ask(state.path(), Command::Status).unwrap().is_none());
    let mut program = Program::listen(state, directory);
    assert!(program.serve(|path| ask(path, Command::Reload)).await.unwrap().is_some());
}

#[tokio::test]
async fn garbage_is_told_so_and_nobody_is_disturbed() {
    let mut program = Program::start();
    for bytes in [&b"\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"{\"command\":\"halt\"}\n", b"\xff\xfe\n", b"[[[[\n"] {
        let answer = program.serve(move |path| say(path, bytes)).await;
        assert!(answer.starts_with("{\"error\":\"this is no question"), "{bytes:?}: {answer}");
    }
    // A line without an end is not gathered, nor its end waited for.
    let (endless, start) = (vec![b'{'; 1 << 20], Instant::now());
    program.serve(move |path| say(path, &endless)).await;
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(program.serve(|path| ask(path, Command::Status)).await.unwrap().is_some());
}

#[tokio::test]
async fn more_silent_clients_than_there_is_room_for_are_dropped_and_others_answered() {
    let mut program = Program::start();
    let path = program.state.path().to_owned();
    let mut silent: Vec<UnixStream> = (0..8).map(|_| connect(&path)).collect();
    let start = Instant::now();
    assert!(program.serve(|path| ask(path, Command::Status)).await.unwrap().is_some());
    assert!(start.elapsed() > Duration::from_secs(4), "a ninth client waits");
    program.serve(move |_| silent.iter_mut().for_each(|one| assert_eq!(one.read(&mut [0; 1]).unwrap(), 0))).await;
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_is_not_passed_on() {
    let mut program = Program::start();
    // The program is busy: it does not answer in time.
    let path = program.state.path().to_owned();
    let error = spawn_blocking(move || ask(&path, Command::Rotate)).await.unwrap().unwrap_err();
    assert!(matches!(error, AskError::NoAnswer(_)), "{error}");
    assert!(program.serve(|path| ask(path, Command::Status)).await.unwrap().is_some());
    assert_eq!(program.asked, [Command::Status]);
}

#[tokio::test]
async fn where_no_socket_can_be_the_program_runs_without() {
    let directory = tempfile::tempdir().unwrap();
    let long = StateDir::open(directory.path().join("d".repeat(120))).unwrap();
    let blocked = StateDir::open(directory.path().join("blocked")).unwrap();
    fs::write(socket(blocked.path()), "of the user's").unwrap();
    for state in [long, blocked] {
        let mut deaf = ControlSocket::bind(&state);
        assert!(ask(state.path(), Command::Status).unwrap().is_none());
        let asked = tokio::time::timeout(Duration::from_millis(50), deaf.next()).await;
        assert!(asked.is_err());
    }
    assert_eq!(fs::read_to_string(directory.path().join("blocked/control")).unwrap(), "of the user's");
}
