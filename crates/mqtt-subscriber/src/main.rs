//! `mqtt-subscriber`: see `--help`, or the README.
fn main() -> std::process::ExitCode {
    mqtt_subscriber::run()
}
