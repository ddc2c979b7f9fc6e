//! A process of ours in one role: asked on its stdin, heard on its stdout, killed when its handle is dropped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Meter, Usage};
use crate::job::{Ask, Job, Said};
use crate::outcome::Outcome;

/// The subcommand behind which a process is told its role.
pub(super) const ROLE: &str = "role";

/// How long a process that takes no question may need to have said why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running process.
#[derive(Debug)]
pub(crate) struct Role {
    name: String,
    process: Child,
    stdin: ChildStdin,
    said: Receiver<Said>,
    meter: Meter,
    before: Duration,
}

impl Role {
    /// This very program, in a role.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(job: &Job) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ROLE, &serde_json::to_string(job)?]);
        Self::spawn(command)
    }

    /// Any program that speaks as a role does.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn spawn(mut command: Command) -> Outcome<Self> {
        let name = format!("{}", command.get_program().display());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a pipe is missing".into());
        };
        let (tell, said) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let heard = serde_json::from_str(&line).unwrap_or(Said::Failed { why: line });
                if tell.send(heard).is_err() {
                    return;
                }
            }
        });
        let meter = Meter::of(process.id())?;
        Ok(Self { name, process, stdin, said, meter, before: Duration::ZERO })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If the process has ended; with what it said last.
    pub(crate) fn ask(&mut self, ask: Ask) -> Outcome<()> {
        let line = serde_json::to_string(&ask)? + "\n";
        let asked = self.stdin.write_all(line.as_bytes()).and_then(|()| self.stdin.flush());
        asked.map_err(|_| self.hear(LAST_WORDS).err().unwrap_or_else(|| format!("{} has ended", self.name).into()))
    }

    /// The next thing that it says.
    ///
    /// # Errors
    /// If it says nothing in time, that it failed, or has ended.
    pub(crate) fn hear(&self, patience: Duration) -> Outcome<Said> {
        match self.said.recv_timeout(patience) {
            Ok(Said::Failed { why }) => Err(format!("{}: {why}", self.name).into()),
            Ok(said) => Ok(said),
            Err(RecvTimeoutError::Timeout) => Err(format!("{} did not answer in {patience:?}", self.name).into()),
            Err(RecvTimeoutError::Disconnected) => Err(format!("{} has ended", self.name).into()),
        }
    }

    /// Waits until it is set up.
    ///
    /// # Errors
    /// As [`Role::hear`].
    pub(crate) fn ready(&self, patience: Duration) -> Outcome<()> {
        match self.hear(patience)? {
            Said::Ready => Ok(()),
            other => Err(format!("{} said {other:?} instead of being ready", self.name).into()),
        }
    }

    /// From now on its processor time counts.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn begin(&mut self) -> Outcome<()> {
        self.before = self.meter.cpu()?;
        Ok(())
    }

    /// What it has used since [`Role::begin`].
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn usage(&self) -> Outcome<Usage> {
        self.meter.since(self.before)
    }

    /// Its figures.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Role {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Role::spawn(command).unwrap()
    }

    #[test]
    fn it_is_asked_and_heard() {
        let mut role = shell(r#"echo '{"said":"ready"}'; read line; echo '{"said":"settled"}'; read x"#);
        role.ready(PATIENCE).unwrap();
        role.begin().unwrap();
        role.ask(Ask::Connect).unwrap();
        assert_eq!(role.hear(PATIENCE).unwrap(), Said::Settled);
        assert!(role.usage().unwrap().peak_kib > 0);
    }

    #[test]
    fn its_failure_its_end_and_its_silence_are_told_apart() {
        let failed = shell(r#"echo '{"said":"failed","why":"no broker"}'; read x"#).ready(PATIENCE).unwrap_err();
        assert!(failed.to_string().ends_with("no broker"), "{failed}");
        let ended = shell("exit 0").ready(PATIENCE).unwrap_err();
        assert!(ended.to_string().ends_with("has ended"), "{ended}");
        let silent = shell("read x").ready(Duration::from_millis(10)).unwrap_err();
        assert!(silent.to_string().contains("did not answer"), "{silent}");
        let mut gone = shell(r#"exec <&-; echo '{"said":"ready"}'; echo '{"said":"failed","why":"no disk"}'"#);
        gone.ready(PATIENCE).unwrap();
        let unheard = gone.ask(Ask::Connect).unwrap_err();
        assert!(unheard.to_string().ends_with("no disk"), "{unheard}");
        let nonsense = shell("echo hello; read x").ready(PATIENCE).unwrap_err();
        assert!(nonsense.to_string().ends_with("hello"), "{nonsense}");
    }
}
