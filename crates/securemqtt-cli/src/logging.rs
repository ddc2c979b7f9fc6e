//! Logs and talk: tracing events on stderr, and the status lines of a run.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure, Outcome};

/// How log events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object a line; status lines become events too.
    Json,
}

/// The flags about talk.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Messages")]
pub struct LogArgs {
    /// How log events on stderr are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,

    /// Say nothing but errors
    #[arg(long, global = true)]
    pub quiet: bool,
}

impl LogArgs {
    /// Starts logging to stderr. `SECUREMQTT_LOG` may hold a filter such as `debug` or `securemqtt_client=trace`.
    ///
    /// # Errors
    /// The filter cannot be read.
    pub fn start(&self) -> Outcome<()> {
        let filter = self.filter(std::env::var("SECUREMQTT_LOG").ok().as_deref())?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        let builder = builder.with_ansi(io::stderr().is_terminal());
        // A second start (two programs in one process, as in a test) keeps the first.
        let _ = match self.log_format {
            LogFormat::Text => builder.with_target(false).try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        Ok(())
    }

    /// Where status lines go, `stdout` being the answer to "does stdout carry no data?".
    pub fn talk(&self, program: &'static str, stdout: bool) -> Talk {
        let to = match (self.quiet, self.log_format, stdout) {
            (true, _, _) => To::Nowhere,
            (_, LogFormat::Json, _) => To::Events,
            (_, LogFormat::Text, true) => To::Stdout,
            (_, LogFormat::Text, false) => To::Stderr,
        };
        Talk { program, to }
    }

    fn filter(&self, wanted: Option<&str>) -> Outcome<EnvFilter> {
        let default = match (self.quiet, self.log_format) {
            // What rumqttc reports, we report too, in words for people.
            (true, _) => "error,rumqttc=off",
            (_, LogFormat::Text) => "warn,rumqttc=off",
            (_, LogFormat::Json) => "info,rumqttc=off",
        };
        let directives = wanted.filter(|text| !text.is_empty()).unwrap_or(default);
        EnvFilter::try_new(directives).map_err(|error| {
            Failure::new(Exit::Config, format!("SECUREMQTT_LOG={directives}: {error}"))
                .hint("a level (error, warn, info, debug, trace), or TARGET=LEVEL pairs with commas")
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Stdout,
    Stderr,
    Events,
    Nowhere,
}

/// The status lines of a run, such as `[Subscriber] Connected to broker`.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    program: &'static str,
    to: To,
}

impl Talk {
    /// Says how things stand.
    ///
    /// # Errors
    /// Stdout or stderr cannot be written; a closed pipe is an error here, as it ends the program.
    pub fn say(&self, status: impl fmt::Display) -> io::Result<()> {
        match self.to {
            To::Stdout => {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{}", self.line(status))?;
                stdout.flush()
            }
            To::Stderr => writeln!(io::stderr().lock(), "{}", self.line(status)),
            To::Events => {
                tracing::info!(program = self.program, "{status}");
                Ok(())
            }
            To::Nowhere => Ok(()),
        }
    }

    /// The line, where it shares stdout with the data: whoever gathers that puts it in its place.
    pub fn line_for_stdout(&self, status: impl fmt::Display) -> Option<String> {
        (self.to == To::Stdout).then(|| self.line(status))
    }

    fn line(&self, status: impl fmt::Display) -> String {
        format!("[{}] {status}", self.program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(quiet: bool, log_format: LogFormat) -> LogArgs {
        LogArgs { log_format, quiet }
    }

    #[test]
    fn talk_goes_where_no_data_goes() {
        let text = args(false, LogFormat::Text);
        assert_eq!(text.talk("Subscriber", true).to, To::Stdout);
        assert_eq!(text.talk("Subscriber", false).to, To::Stderr);
        let json = args(false, LogFormat::Json);
        assert_eq!(json.talk("Subscriber", true).to, To::Events);
        let quiet = args(true, LogFormat::Json);
        assert_eq!(quiet.talk("Subscriber", true).to, To::Nowhere);
    }

    #[test]
    fn a_bad_filter_is_a_configuration_error() {
        let text = args(false, LogFormat::Text);
        let error = text.filter(Some("a=b=c")).map(drop);
        assert_eq!(error.map_err(|e| e.exit()), Err(Exit::Config));
        assert!(text.filter(Some("")).is_ok());
    }
}
