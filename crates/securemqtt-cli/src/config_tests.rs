//! The order of sources, over a small command.
#![allow(clippy::unwrap_used, clippy::panic, clippy::option_option)]

use std::io::Write;
use std::path::PathBuf;

use super::*;

#[derive(Parser, Debug)]
#[command(name = "prog", disable_help_flag = true, args_override_self = true)]
struct Cli {
    #[arg(short = 'h', long, num_args(0..=1), help_heading = "Broker")]
    host: Option<Option<String>>,
    #[arg(short, long, default_value_t = 1883)]
    port: u16,
    #[arg(short, long, help_heading = "Broker")]
    broker: Option<String>,
    #[arg(short, long)]
    topic: Vec<String>,
    #[arg(long)]
    quiet: bool,
    #[arg(long)]
    password: Option<String>,
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    Bench,
    Key,
}

const EXCLUSIVE: [Exclusive; 2] = [("broker", "host"), ("broker", "port")];

fn run(arguments: &[&str], file: &str) -> Result<Cli, Problem> {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(file.as_bytes()).unwrap();
    let mut all: Vec<OsString> = vec!["prog".into(), "--config".into(), config.path().into()];
    all.extend(arguments.iter().map(OsString::from));
    resolve(&all, &EXCLUSIVE)
}

fn refused(arguments: &[&str], file: &str) -> String {
    match run(arguments, file) {
        Err(Problem::Config(failure)) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_beats_the_file_and_the_file_the_default() {
    let cli = run(&["-p", "9"], "port = 7\nquiet = true\ntopic = [\"a\", \"b\"]").unwrap();
    assert_eq!(cli.port, 9);
    assert!(cli.quiet);
    assert_eq!(cli.topic, ["a", "b"]);
    assert_eq!(run(&[], "port = 7").unwrap().port, 7);
    assert_eq!(run(&[], "").unwrap().port, 1883);
    assert_eq!(run(&["-t", "x"], "topic = \"a\"").unwrap().topic, ["x"]);
}

#[test]
fn a_typed_host_beats_a_url_in_the_file() {
    let cli = run(&["-h", "other"], "broker = \"mqtt://b\"").unwrap();
    assert_eq!(cli.host, Some(Some("other".into())));
    assert_eq!(cli.broker, None);
}

#[test]
fn host_and_url_on_one_line_are_a_usage_error() {
    let Err(Problem::Clap(error)) = run(&["-h", "a", "-b", "mqtt://b"], "") else { panic!("accepted") };
    assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
}

#[test]
fn unknown_keys_are_refused_where_they_stand() {
    let message = refused(&[], "port = 1\n  hots = \"x\"\n");
    assert!(message.contains(":2:3: unknown key `hots`"), "{message}");
    assert!(message.contains("host"), "{message}");
}

#[test]
fn a_bad_value_is_refused_where_it_stands() {
    let message = refused(&[], "quiet = false\nport = 70000\n");
    assert!(message.contains(":2:8: `port` cannot be \"70000\""), "{message}");
}

#[test]
fn one_value_is_not_two_and_a_password_not_in_a_file() {
    let message = refused(&[], "port = [1, 2]");
    assert!(message.contains(":1:8: `port` takes one value"), "{message}");
    let message = refused(&[], "password = \"hunter2\"");
    assert!(message.contains("password-file") && !message.contains("hunter2"));
}

#[test]
fn a_bare_h_is_help() {
    assert!(matches!(run(&["-h"], ""), Err(Problem::Help)));
}

#[test]
fn variables_are_the_flags_in_capitals() {
    assert_eq!(variable_of("password-file"), "SECUREMQTT_PASSWORD_FILE");
    let command = command::<Cli>();
    let port = command.get_arguments().find(|a| a.get_id() == "port").unwrap();
    assert_eq!(port.get_env().unwrap(), "SECUREMQTT_PORT");
    assert!(port.is_hide_env_set());
}

#[test]
fn the_brokers_flags_may_stand_behind_a_subcommand_that_connects() {
    let host = |arguments: &[&str], file| run(arguments, file).unwrap().host.flatten();
    assert_eq!(host(&["bench", "-h", "b"], ""), Some("b".to_owned()));
    assert_eq!(host(&["-h", "a", "bench"], ""), Some("a".to_owned()));
    assert_eq!(host(&["-h", "a", "bench", "-h", "b"], ""), Some("b".to_owned()));
    assert_eq!(host(&["bench", "-h", "b"], "host = \"c\""), Some("b".to_owned()));
    assert_eq!(host(&["bench"], "host = \"c\""), Some("c".to_owned()));
    assert!(matches!(run(&["key", "--host", "b"], ""), Err(Problem::Clap(_))));
    assert!(matches!(run(&["bench", "-h", "b", "--broker", "mqtt://b"], ""), Err(Problem::Clap(_))));
    for arguments in [["bench", "-h"], ["bench", "--help"], ["help", "bench"]] {
        let Err(Problem::Clap(help)) = run(&arguments, "") else { panic!("no help") };
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        assert!(help.to_string().contains("Broker:\n  -h, --host"), "{help}");
    }
}
