//! `cargo run --release -p securemqtt-bench`: see the library.

fn main() -> std::process::ExitCode {
    securemqtt_bench::run()
}
