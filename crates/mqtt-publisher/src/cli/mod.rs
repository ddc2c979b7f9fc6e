//! The command line of `mqtt-publisher`.

mod keys;
mod spool;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use securemqtt_cli::bench::LoadArgs;
use securemqtt_cli::broker::{self, BrokerArgs};
use securemqtt_cli::config::Exclusive;
use securemqtt_cli::duration::parse_duration;
use securemqtt_cli::exit::AFTER_HELP;
use securemqtt_cli::identity::{StateArgs, TrustArgs};
use securemqtt_cli::key::KeyCommand;
use securemqtt_cli::logging::LogArgs;
use securemqtt_cli::pages::CompletionsArgs;
use securemqtt_cli::peers::PeersArgs;
use securemqtt_cli::status::StatusArgs;
use securemqtt_core::topic::validate_topic;

pub use self::keys::{KeyArgs, RatchetEvery};
pub use self::spool::SpoolArgs;
use crate::input::{Input, Pace};

/// Publishes readings through an MQTT broker, encrypted end to end for the subscribers it trusts.
///
/// Without arguments: simulated vital signs, to the broker on this machine.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "mqtt-publisher",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = AFTER_HELP,
    args_override_self = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Who we are.
    #[command(flatten)]
    pub state: StateArgs,
    /// Whom we trust.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// What is published.
    #[command(flatten)]
    pub readings: ReadingArgs,
    /// What is kept to be sent again.
    #[command(flatten)]
    pub spool: SpoolArgs,
    /// When keys change.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// What is said.
    #[command(flatten)]
    pub log: LogArgs,

    /// TOML file with settings: each key is a long flag
    #[arg(long, value_name = "FILE", global = true, help_heading = "Other")]
    pub config: Option<PathBuf>,

    #[arg(long, action = ArgAction::Help, help_heading = "Other", help = "Print help")]
    help: Option<bool>,

    #[arg(long, action = ArgAction::Version, help_heading = "Other", help = "Print version")]
    version: Option<bool>,

    /// What to do instead of publishing.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of publishing.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Our identity key: show, generate, export
    #[command(subcommand)]
    Key(KeyCommand),
    /// The pinned subscribers: list, add, import, replace, revoke, rm
    Peers(PeersArgs),
    /// How things stand with the running publisher, or with one that is stopped
    Status(StatusArgs),
    /// Begin a new stream now, or at the next start
    Rotate,
    /// Measure readings/s, latency and handshakes/s at your broker; its flags may come before or behind
    Bench(BenchArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Print the man page
    Man,
}

/// `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// How many subscribers read
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub subscribers: u16,
    /// What is measured.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What is published.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(next_help_heading = "Readings")]
pub struct ReadingArgs {
    /// Where readings are published.
    #[arg(short, long, value_name = "TOPIC", help = "Topic to publish to [default: telemetry/<name>]", value_parser = parse_topic)]
    pub topic: Option<String>,

    /// Publish this one reading
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,

    /// Publish the rows of a .csv file, or the lines of any other
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Publish the lines of stdin
    #[arg(short, long)]
    lines: bool,

    /// Publish simulated readings: what a bare mqtt-publisher does
    #[arg(long, value_enum, value_name = "WHAT")]
    simulate: Option<Simulation>,

    /// Pause from one reading to the next, such as 500ms [default: 1s for --simulate, else 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,

    /// Stop after this many readings; with -m, publish it this many times
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Readings need not be JSON
    #[arg(long)]
    pub raw: bool,

    /// Do not wait for the first subscriber; readings before it has the keys cannot be opened by it
    #[arg(long)]
    pub no_wait: bool,

    /// Let the broker retain the last reading of the topic
    #[arg(short, long)]
    pub retain: bool,

    /// Gather readings for this long and seal them in one message; each stays a reading of its own
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub linger: Duration,
}

/// What `--simulate` can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Simulation {
    /// Vital signs of one patient
    Vitals,
}

/// The flags of which only one may be typed.
pub fn exclusive() -> Vec<Exclusive> {
    let inputs = [
        ("message", "file"),
        ("message", "lines"),
        ("message", "simulate"),
        ("file", "lines"),
        ("file", "simulate"),
        ("lines", "simulate"),
    ];
    [&broker::EXCLUSIVE[..], &inputs].concat()
}

impl ReadingArgs {
    /// The input that the flags chose.
    pub fn input(&self) -> Input {
        match (&self.message, &self.file, self.lines) {
            (Some(text), _, _) => Input::Message(text.clone()),
            (_, Some(path), _) => Input::File(path.clone()),
            (_, _, true) => Input::Stdin,
            _ => Input::Vitals,
        }
    }

    /// How fast readings are taken from it, and how many.
    pub fn pace(&self) -> Pace {
        let input = self.input();
        let second = Duration::from_secs(1);
        let usual = if input == Input::Vitals { second } else { Duration::ZERO };
        let once = matches!(input, Input::Message(_)).then_some(1);
        Pace { interval: self.interval.unwrap_or(usual), count: self.count.or(once) }
    }
}

fn parse_topic(text: &str) -> Result<String, String> {
    validate_topic(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;
    use securemqtt_cli::{config, pages};

    use super::*;

    pub(super) fn parse(line: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("mqtt-publisher").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_command_is_sound_and_its_pages_render() {
        Cli::command().debug_assert();
        let command = config::command::<Cli>();
        command.clone().debug_assert();
        assert!(pages::render_all(command).unwrap() > 10_000);
    }

    #[test]
    fn a_bare_publisher_simulates_once_a_second() {
        let readings = parse("").readings;
        assert_eq!(readings.input(), Input::Vitals);
        assert_eq!(readings.pace(), Pace { interval: Duration::from_secs(1), count: None });
    }

    #[test]
    fn a_message_is_sent_once_and_a_file_whole() {
        let message = parse("-m 1").readings;
        assert_eq!(message.pace(), Pace { interval: Duration::ZERO, count: Some(1) });
        let file = parse("-f a.csv --interval 2").readings;
        assert_eq!(file.input(), Input::File("a.csv".into()));
        assert_eq!(file.pace(), Pace { interval: Duration::from_secs(2), count: None });
        assert_eq!(parse("-l").readings.input(), Input::Stdin);
    }

    #[test]
    fn topics_with_wildcards_are_refused() {
        for topic in ["a/+", "#", "a\0b", ""] {
            assert!(Cli::try_parse_from(["p", "-t", topic]).is_err(), "{topic:?}");
        }
    }
}
