//! The side of the running program: a task that takes questions, and a queue from which the main loop answers them.

use std::fs::{self, Permissions};
use std::future::pending;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::{Answer, Command, line, socket};
use crate::state::StateDir;

/// Clients at a time; others wait until the system gives up on them.
const MAX_CLIENTS: usize = 8;
/// How long each of a question, its answer and the taking of that answer may last.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest question, in bytes.
const MAX_QUESTION: u64 = 4 << 10;
/// How long nothing is accepted when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_secs(1);

/// The control socket of a running program; gone with this value.
#[derive(Debug)]
pub struct ControlSocket {
    requests: mpsc::Receiver<Request>,
    _listening: Option<Listening>,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    answer: oneshot::Sender<Answer>,
}

impl ControlSocket {
    /// Listens in a state directory, which must be held by this process: a socket that stands there was left by a
    /// killed one, and is replaced. Needs a tokio runtime.
    ///
    /// A program whose socket cannot be made says so in the log and runs all the same; then nobody ever asks.
    pub fn bind(state: &StateDir) -> Self {
        let (queue, requests) = mpsc::channel(MAX_CLIENTS);
        let path = socket(state.path());
        let listening = match listen(&path) {
            Ok(listener) => Some(Listening { path, task: tokio::spawn(serve(listener, queue)) }),
            Err(error) => {
                tracing::warn!("{}", no_socket(&path, &error));
                None
            }
        };
        Self { requests, _listening: listening }
    }

    /// The next question. Safe to be cancelled.
    pub async fn next(&mut self) -> Request {
        loop {
            match self.requests.recv().await {
                // Whoever asked may have given up: then it must not happen any more.
                Some(request) if request.answer.is_closed() => {}
                Some(request) => return request,
                None => return pending().await,
            }
        }
    }
}

impl Request {
    /// Answers.
    pub fn reply(self, value: Value) {
        // Whoever asked may be gone.
        let _ = self.answer.send(Answer::Ok(value));
    }

    /// Says why not.
    pub fn refuse(self, why: impl Into<String>) {
        let _ = self.answer.send(Answer::Error(why.into()));
    }
}

/// The task that listens.
#[derive(Debug)]
struct Listening {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        // What stays is replaced at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn no_socket(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    let why = match error.kind() {
        io::ErrorKind::InvalidInput => "its path is too long for a socket; a shorter --state-dir would do".to_owned(),
        io::ErrorKind::AddrInUse => "something else stands there; remove it".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "cannot listen at {path}: {why}. `status` and `rotate` cannot reach this process; a change of the peers is noticed \
         all the same"
    )
}

/// Takes clients for as long as the task lives; with it they all end.
async fn serve(listener: UnixListener, queue: mpsc::Sender<Request>) {
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        if clients.len() >= MAX_CLIENTS {
            clients.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(clients.spawn(converse(stream, queue.clone()))),
            Err(error) => {
                tracing::debug!(%error, "a control connection was not accepted");
                sleep(NO_ROOM).await;
            }
        }
    }
}

/// One question and its answer. Who asks nothing, or takes no answer, is dropped.
async fn converse(mut stream: UnixStream, queue: mpsc::Sender<Request>) {
    let Ok(Ok(question)) = timeout(PATIENCE, read_line(&mut stream)).await else { return };
    let answer = match serde_json::from_slice(&question) {
        Ok(command) => match timeout(PATIENCE, put(command, &queue)).await {
            Ok(Some(answer)) => answer,
            _ => return,
        },
        Err(error) => Answer::Error(format!("this is no question: {error}")),
    };
    let _ = timeout(PATIENCE, stream.write_all(&line(&answer))).await;
}

/// A line, or as much of one as a question can have.
async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_QUESTION)).read_until(b'\n', &mut line).await?;
    Ok(line)
}

/// Puts a question to the main loop; `None` when it ends without an answer.
async fn put(command: Command, queue: &mpsc::Sender<Request>) -> Option<Answer> {
    let (answer, answered) = oneshot::channel();
    queue.send(Request { command, answer }).await.ok()?;
    answered.await.ok()
}
