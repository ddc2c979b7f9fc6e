//! The real programs as child processes. Each has a home of its own and nothing of the developer's environment; both
//! outputs are collected on threads; whatever happens, it is killed when its handle is dropped.

mod capture;
mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{Broker, HOST};

pub(crate) use running::Running;

/// Longer than any single step of a program takes on a loaded machine; waiting ends as soon as the line is there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a process that is starting or ending.
const POLL: Duration = Duration::from_millis(10);

/// An empty home and state directory, shared by the runs of one program over its restarts.
#[derive(Clone)]
pub(crate) struct Home(Arc<TempDir>);

impl Home {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        Self(Arc::new(directory))
    }

    /// What `HOME` is; programs start in it.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// What `XDG_STATE_HOME` is.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }
}

enum Input {
    Nothing,
    Text(String),
    File(PathBuf),
    Open,
}

/// A program about to start.
pub(crate) struct Program {
    path: &'static Path,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    home: Home,
    input: Input,
    terminal: bool,
    close_stdout_after: Option<usize>,
    hold_stdout: bool,
}

impl Program {
    pub(crate) fn publisher() -> Self {
        Self::new(Path::new(env!("CARGO_BIN_EXE_mqtt-publisher")))
    }

    pub(crate) fn subscriber() -> Self {
        Self::new(Path::new(env!("CARGO_BIN_EXE_mqtt-subscriber")))
    }

    /// Any program; for the tests of the harness.
    pub(crate) fn new(path: &'static Path) -> Self {
        Self {
            path,
            arguments: Vec::new(),
            environment: Vec::new(),
            home: Home::new(),
            input: Input::Nothing,
            terminal: false,
            close_stdout_after: None,
            hold_stdout: false,
        }
    }

    /// Run by another program, which gets these arguments first.
    pub(crate) fn under(mut self, wrapper: &'static Path, arguments: &[&str]) -> Self {
        let wrapped = arguments.iter().map(|argument| (*argument).to_owned()).chain([self.path.display().to_string()]);
        self.arguments = wrapped.chain(self.arguments).collect();
        self.path = wrapper;
        self
    }

    /// `-h` and `-p` of the broker's plain listener.
    pub(crate) fn at(self, broker: &Broker) -> Self {
        let port = broker.port().to_string();
        self.args(["-h", HOST, "-p", &port])
    }

    pub(crate) fn args<S: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        self.arguments.extend(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The home of an earlier run, for a restart with the same identity and known peers.
    pub(crate) fn home(mut self, home: &Home) -> Self {
        self.home = home.clone();
        self
    }

    /// All of stdin; without it stdin is empty.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Input::Text(text.to_owned());
        self
    }

    /// Stdin is a file, not a pipe.
    pub(crate) fn input_file(mut self, path: &Path) -> Self {
        self.input = Input::File(path.to_owned());
        self
    }

    /// Stdin stays open for [`Running::type_line`].
    pub(crate) fn open_input(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// Stdin, stdout and stderr are a terminal of its own, so that `/dev/tty` answers too; [`Running::type_line`] types.
    /// All output then counts as stdout.
    pub(crate) fn terminal(mut self) -> Self {
        self.terminal = true;
        self.open_input()
    }

    /// The reader of stdout leaves after so many lines, as `head` does.
    pub(crate) fn close_stdout_after(mut self, lines: usize) -> Self {
        self.close_stdout_after = Some(lines);
        self
    }

    /// Nobody reads stdout until [`Running::read_stdout`], as with a pager.
    pub(crate) fn hold_stdout(mut self) -> Self {
        self.hold_stdout = true;
        self
    }

    pub(crate) fn start(self) -> Running {
        let pid_file = self.home.0.path().join("pid");
        let _ = fs::remove_file(&pid_file);
        let mut command = if self.terminal {
            self.in_a_terminal(&pid_file)
        } else {
            let mut command = Command::new(self.path);
            command.args(&self.arguments);
            command
        };
        command
            .env_clear()
            .envs(inherited())
            .env("HOME", self.home.path())
            .env("XDG_STATE_HOME", self.home.state())
            .env("SHELL", "/bin/sh")
            .env("TERM", "dumb")
            .envs(self.environment)
            .current_dir(self.home.path())
            .stdin(match &self.input {
                Input::Nothing => Stdio::null(),
                Input::File(path) => fs::File::open(path).unwrap().into(),
                Input::Text(_) | Input::Open => Stdio::piped(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let pid = if self.terminal { read_pid(&pid_file) } else { child.id() };
        let mut running = Running::new(child, pid, self.home);
        if !self.hold_stdout {
            running.read_stdout(self.close_stdout_after);
        }
        if let Input::Text(text) = self.input {
            running.feed(text);
        }
        running
    }

    /// `script` (util-linux) opens a terminal for a shell command. The shell leaves its process id, for a signal must
    /// reach the program and not `script`, and becomes the program.
    fn in_a_terminal(&self, pid_file: &Path) -> Command {
        let mut line = format!("echo $$ > {}; exec", quoted(&pid_file.display().to_string()));
        for word in std::iter::once(self.path.display().to_string()).chain(self.arguments.iter().cloned()) {
            line.push(' ');
            line.push_str(&quoted(&word));
        }
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-f", "-E", "never", "-c", &line, "/dev/null"]);
        command
    }
}

/// `kill -s NAME PID`, by the shell: sending a signal from Rust takes unsafe code or another dependency.
pub(crate) fn send_signal(name: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "cannot send {name} to {pid}: it has ended");
}

/// What a program needs of the environment of the tests: to be found, and to be measured.
fn inherited() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LLVM_PROFILE_FILE")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn read_pid(file: &Path) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n') {
            return pid.parse().unwrap();
        }
        assert!(Instant::now() < deadline, "the program did not start in its terminal");
        thread::sleep(POLL);
    }
}
