//! The command line of `mqtt-subscriber`.

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
use securemqtt_core::peers::PeerName;
use securemqtt_core::topic::validate_filter;

use crate::output::{LETTERS, Selection, Style, Template};

/// Prints the readings of the publishers it trusts, decrypted here and nowhere else.
///
/// Without arguments: everything below telemetry/, from the broker on this machine.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "mqtt-subscriber",
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
    /// What is read, and how it is put out.
    #[command(flatten)]
    pub readings: ReadingArgs,
    /// After a restored backup.
    #[arg(
        long,
        help_heading = "Identity and trust",
        help = "After the state directory was restored from a backup: show what comes, though it may have been shown before"
    )]
    pub accept_rollback: bool,
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

    /// What to do instead of subscribing.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of subscribing.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show it all on this machine: a broker, a simulated publisher, and what the broker sees
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Our identity key: show, generate, export
    #[command(subcommand)]
    Key(KeyCommand),
    /// The pinned publishers: list, add, import, replace, revoke, rm
    Peers(PeersArgs),
    /// How things stand with the running subscriber, or with one that is stopped
    Status(StatusArgs),
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
    /// How many publishers publish
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub publishers: u16,
    /// What is measured.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Use this broker, if it is installed, instead of the one inside
    #[arg(long, value_enum, value_name = "BROKER")]
    pub with: Option<DemoBroker>,

    /// Stop after this many readings
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// A broker that `demo` can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoBroker {
    /// Eclipse Mosquitto
    Mosquitto,
}

/// What is read, and how it is put out.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Readings")]
pub struct ReadingArgs {
    /// Topic filter to subscribe to; may be repeated
    #[arg(short, long, value_name = "FILTER", default_value = "telemetry/#", value_parser = parse_filter)]
    pub topic: Vec<String>,

    /// Topic filter to leave out; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER", value_parser = parse_filter)]
    filter_out: Vec<String>,

    /// How readings are put out; but for demo, stdout carries nothing else
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,

    /// Append readings to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    #[arg(short = 'F', long, value_name = "FORMAT", allow_hyphen_values = true, help = format!("Put readings out like this: {LETTERS}"))]
    format: Option<Template>,

    /// Print topics too
    #[arg(short, long)]
    verbose: bool,

    /// Stop after this many readings
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this long, in seconds or as in 2m (exit code 75)
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Leave out readings that the broker had retained
    #[arg(short = 'R', long)]
    no_retained: bool,

    /// Only readings of this publisher; may be repeated
    #[arg(long, value_name = "NAME")]
    from: Vec<PeerName>,
}

/// `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people, with the decryption time
    #[default]
    Demo,
    /// One JSON object a line
    Json,
    /// The reading and a line feed
    Raw,
}

/// The flags of which only one may be typed.
pub fn exclusive() -> Vec<Exclusive> {
    [&broker::EXCLUSIVE[..], &[("output", "format")]].concat()
}

impl ReadingArgs {
    /// How a reading becomes a line.
    pub fn style(&self) -> Style {
        match (&self.format, self.output) {
            (Some(template), _) => Style::Template(template.clone()),
            (None, OutputFormat::Demo) => Style::Demo(self.verbose),
            (None, OutputFormat::Json) => Style::Json,
            (None, OutputFormat::Raw) => Style::Raw(self.verbose),
        }
    }

    /// Which readings are put out.
    pub fn selection(&self) -> Selection {
        Selection {
            leave_out: self.filter_out.clone(),
            no_retained: self.no_retained,
            from: self.from.iter().map(ToString::to_string).collect(),
        }
    }
}

fn parse_filter(text: &str) -> Result<String, String> {
    if text.starts_with("$share/") {
        return Err("shared subscriptions are not supported: each subscriber must see every frame".to_owned());
    }
    validate_filter(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;
    use securemqtt_cli::{config, pages};

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("mqtt-subscriber").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_command_is_sound_and_its_pages_render() {
        Cli::command().debug_assert();
        let command = config::command::<Cli>();
        command.clone().debug_assert();
        assert!(pages::render_all(command).unwrap() > 10_000);
    }

    #[test]
    fn a_bare_subscriber_is_the_demo() {
        let readings = parse("").readings;
        assert_eq!(readings.topic, ["telemetry/#"]);
        assert_eq!(readings.style(), Style::Demo(false));
        assert_eq!(readings.selection(), Selection::default());
    }

    #[test]
    fn letters_are_mosquittos() {
        let readings = parse("-t a -t b/+ -T c -C 3 -W 5 -R -v --from meter-7 -o out --output raw").readings;
        assert_eq!(readings.topic, ["a", "b/+"]);
        assert_eq!((readings.count, readings.timeout), (Some(3), Some(Duration::from_secs(5))));
        assert_eq!(readings.style(), Style::Raw(true));
        let selection = readings.selection();
        assert!(selection.no_retained);
        assert_eq!((selection.leave_out, selection.from), (vec!["c".to_owned()], vec!["meter-7".to_owned()]));
        assert_eq!(readings.out, Some("out".into()));
        assert!(matches!(parse("-F %t").readings.style(), Style::Template(_)));
    }

    #[test]
    fn bad_filters_and_formats_are_refused() {
        for line in [["-t", "a#"], ["-t", "$share/g/a"], ["-t", ""], ["-F", "%m"], ["-C", "0"]] {
            assert!(Cli::try_parse_from(["p"].iter().chain(&line)).is_err(), "{line:?}");
        }
    }

    #[test]
    fn subcommands_take_the_state_directory_and_a_short_help() {
        let cli = parse("peers --state-dir /s list --json");
        assert_eq!(cli.state.state_dir, Some("/s".into()));
        let matches = config::command::<Cli>().try_get_matches_from(["p", "peers", "list", "-h"]);
        assert_eq!(matches.unwrap_err().kind(), clap::error::ErrorKind::DisplayHelp);
    }
}
