//! What was found, as rows of the README's table.

use std::io::Write as _;
use std::time::Duration;

use super::server::Server;
use super::set::Step;

/// How a step ended.
pub(super) enum Found {
    Holds(Duration),
    /// It does not, and says so, and nothing wrong came out.
    FailsSafe(&'static str),
    Fails(String),
}

/// Prints the row of a broker; the reasons stand below it.
pub(super) fn print(server: &Server, found: &[(&Step, Found)]) {
    let (name, version, mqtt) = (server.name(), server.version(), server.mqtt());
    let cell = |(step, found): &(&Step, Found)| match found {
        Found::Holds(time) => format!("{}: yes, {:.0} s", step.name, time.as_secs_f32()),
        Found::FailsSafe(why) => format!("{}: no: {why}", step.name),
        Found::Fails(_) => format!("{}: FAILED", step.name),
    };
    let why = |(step, found): &(&Step, Found)| match found {
        Found::Fails(why) => Some(format!("matrix: {name} {version}, MQTT {mqtt}, {}: {why}\n", step.name)),
        Found::Holds(_) | Found::FailsSafe(_) => None,
    };
    let cells: Vec<String> = found.iter().map(cell).collect();
    let reasons: String = found.iter().filter_map(why).collect();
    let text = format!("\nmatrix: | {name} {version} | {mqtt} | {} |\n{reasons}", cells.join(" | "));
    // In one piece, and not through the test runner, which would swallow it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
