//! Durations as people type them: `500ms`, `1s`, `2m`, `1h30m`, or plain seconds.

use std::time::Duration;

/// No clock overflows below this.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Reads a duration; a bare number, also with a decimal point, is in seconds.
///
/// # Errors
/// The text is neither, or means more than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = read(text)?;
    if duration > LONGEST {
        return Err("longer than ten years".to_owned());
    }
    Ok(duration)
}

fn read(text: &str) -> Result<Duration, String> {
    let plain_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain_number && let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 500ms, 1s, 2m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_and_plain_seconds() {
        let ok = |text, millis| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        ok("0", 0);
        ok("5", 5_000);
        ok("0.25", 250);
        ok("500ms", 500);
        ok("1s", 1_000);
        ok("2m", 120_000);
        ok("1h30m", 5_400_000);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".", "-1s", "1 parsec", "1e99", "11y", "99999999999999999999999"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = parse_duration(&text);
        }
    }
}
