//! The cases are files in `tests/cmd`. After an intended change, `TRYCMD=overwrite cargo test --test tests cli::` writes
//! what the programs say now; review the difference.

use std::path::{Path, PathBuf};

#[test]
fn command_lines_say_what_the_files_say() {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("mqtt-publisher", Path::new(env!("CARGO_BIN_EXE_mqtt-publisher")))
        .register_bin("mqtt-subscriber", Path::new(env!("CARGO_BIN_EXE_mqtt-subscriber")))
        // Git keeps no modes: a case puts its key into place itself.
        .register_bin("install", program("install"))
        .env("COLUMNS", "100")
        .env("SECUREMQTT_STATE_DIR", "state")
        .case("tests/cmd/*.trycmd");
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("there is no {name} on the PATH"))
}
