//! When keys change.

use std::time::Duration;

use clap::Args;
use securemqtt_cli::duration::parse_duration;

/// When keys change.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keys")]
pub struct KeyArgs {
    /// Pause from one signed heartbeat to the next
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub tick_every: Duration,

    /// Step the stream's ratchet after so many readings (1000) or so long (10m)
    #[arg(long, value_name = "N|DURATION", value_parser = parse_ratchet)]
    pub ratchet_every: Option<RatchetEvery>,

    /// Sign every reading, so that no other subscriber can forge one: 64 bytes more each
    #[arg(long)]
    pub sign_readings: bool,

    /// Start a new stream after this long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub rotate_every: Duration,
}

/// When the stream's ratchet steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatchetEvery {
    /// After so many frames.
    Frames(u64),
    /// After so long.
    Time(Duration),
}

fn parse_ratchet(text: &str) -> Result<RatchetEvery, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(frames) if frames > 0 => Ok(RatchetEvery::Frames(frames)),
            _ => Err("a number of readings from 1, or a duration such as 10m".to_owned()),
        };
    }
    match parse_duration(text)? {
        Duration::ZERO => Err("longer than nothing".to_owned()),
        time => Ok(RatchetEvery::Time(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratchet_counts_readings_or_time() {
        assert_eq!(parse_ratchet("1000"), Ok(RatchetEvery::Frames(1000)));
        assert_eq!(parse_ratchet("10m"), Ok(RatchetEvery::Time(Duration::from_secs(600))));
        for bad in ["0", "", "0s", "x", "99999999999999999999999"] {
            assert!(parse_ratchet(bad).is_err(), "{bad}");
        }
    }
}
