//! `mqtt-publisher`: see `--help`, or the README.
fn main() -> std::process::ExitCode {
    mqtt_publisher::run()
}
