//! A question on the terminal itself, because `-l` owns stdin.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};

/// Whether somebody is there to be asked: stderr is a terminal and `/dev/tty` can be read.
pub fn is_interactive() -> bool {
    io::stderr().is_terminal() && open_tty().is_ok()
}

/// Asks whether to trust a peer, both arguments in their validated form. Anything but `y` or `yes` means no.
///
/// This blocks until there is an answer: call it away from the connection's task.
///
/// # Errors
/// The terminal is gone.
pub fn ask_trust(name: &str, fingerprint: &str) -> io::Result<bool> {
    let tty = open_tty()?;
    ask(&mut BufReader::new(&tty), &mut &tty, &format!("Trust {name} {fingerprint} ? [y/N] "))
}

fn open_tty() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

fn ask(from: &mut impl BufRead, to: &mut impl Write, question: &str) -> io::Result<bool> {
    to.write_all(question.as_bytes())?;
    to.flush()?;
    let mut answer = String::new();
    from.read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_means_yes() {
        let answer = |mut text: &[u8]| ask(&mut text, &mut Vec::new(), "Trust? ").ok();
        for yes in ["y\n", "YES\n", " y \r\n", "y"] {
            assert_eq!(answer(yes.as_bytes()), Some(true), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yess\n", "yes please\n"] {
            assert_eq!(answer(no.as_bytes()), Some(false), "{no:?}");
        }
    }

    #[test]
    fn the_question_is_shown_before_the_answer_is_read() {
        let mut shown = Vec::new();
        let _ = ask(&mut &b""[..], &mut shown, "Trust meter-7 SHA256:abc ? [y/N] ");
        assert_eq!(shown, b"Trust meter-7 SHA256:abc ? [y/N] ");
    }
}
