//! What is kept to be sent again.

use std::time::Duration;

use clap::Args;
use securemqtt_cli::duration::parse_duration;
use securemqtt_core::Qos;

/// What is kept to be sent again.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Delivery")]
pub struct SpoolArgs {
    /// Keep at most so much on disk until every subscriber has it, such as 512KiB or 1GiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub spool_max: usize,

    /// Keep nothing: what the broker loses is lost
    #[arg(long)]
    pub no_spool: bool,

    /// At the end, wait this long until every subscriber has stored every reading; exit 75 and name the rest otherwise
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub confirm: Option<Duration>,
}

impl SpoolArgs {
    /// Bytes of the spool, for readings of this quality of service: QoS 0 is not sent again.
    pub fn bytes(&self, qos: Qos) -> usize {
        if self.no_spool || qos == Qos::AtMostOnce { 0 } else { self.spool_max }
    }

    /// Why the flags make no sense together.
    pub fn contradiction(&self, qos: Qos) -> Option<&'static str> {
        (self.confirm.is_some() && self.bytes(qos) == 0)
            .then_some("--confirm needs the spool: it goes with neither --no-spool nor -q 0")
    }
}

/// The smallest spool that makes sense, and the largest that is indexed in memory.
const SPOOL_SIZES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 30);

fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "k" | "K" | "KiB" | "kB" => 1 << 10,
        "M" | "MiB" | "MB" => 1 << 20,
        "G" | "GiB" | "GB" => 1 << 30,
        _ => return Err("a size such as 64MiB; units are KiB, MiB and GiB".to_owned()),
    };
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let size = size.filter(|size| SPOOL_SIZES.contains(size)).and_then(|size| usize::try_from(size).ok());
    size.ok_or_else(|| "a size from 64KiB to 64GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    #[test]
    fn sizes_have_units_and_bounds() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        for bad in ["", "MiB", "1KiB", "64 MiB", "1TiB", "99999999999999999999", "-1"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_must_be_confirmed_must_be_kept() {
        assert!(parse("-m 1 --confirm 1s").spool.contradiction(Qos::AtLeastOnce).is_none());
        assert!(parse("-m 1 --confirm 1s").spool.contradiction(Qos::AtMostOnce).is_some());
        assert!(parse("-m 1 --confirm 1s --no-spool").spool.contradiction(Qos::AtLeastOnce).is_some());
    }
}
