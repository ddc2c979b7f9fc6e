//! One run: a publisher, a broker and a subscriber, each a process of its own, and what they used.

use std::time::Duration;

use crate::job::{Ask, Said};
use crate::outcome::Outcome;
use crate::process::{Lines, Meter, Printed, Role, Usage};
use crate::roles::{Readings, now_ns};
use crate::stats::count64;

/// Longer than a handshake or the rest of a backlog takes on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// So long after the last line no more are awaited.
pub(super) const STALLED: Duration = Duration::from_secs(10);
/// No line for so long: all of them have come.
const QUIET: Duration = Duration::from_millis(200);
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// What a program is asked before it is measured: a reading of the shortest sort.
const PROBE: &str = r#"{"n":1000000000}"#;

/// What one run gave.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Readings that were to come, and that came.
    pub sent: u64,
    /// See `sent`.
    pub delivered: u64,
    /// Twice, out of order, or after a gap.
    pub disordered: u64,
    /// From the first publish to the last delivery.
    pub seconds: f64,
    /// What each process used meanwhile.
    pub publisher: Usage,
    /// See `publisher`.
    pub subscriber: Usage,
    /// See `publisher`.
    pub broker: Usage,
}

impl Sample {
    /// Readings a second at the subscriber.
    pub(super) fn rate(&self) -> f64 {
        count64(self.delivered) / self.seconds
    }

    /// Microseconds of processor time a reading.
    pub(super) fn micros(&self, usage: Usage) -> f64 {
        usage.cpu.as_secs_f64() * 1e6 / count64(self.delivered)
    }

    /// The same of publisher and subscriber together.
    pub(super) fn micros_of_both(&self) -> f64 {
        self.micros(self.publisher) + self.micros(self.subscriber)
    }

    fn checked(self) -> Outcome<Self> {
        check(self.sent, self.delivered, self.disordered)?;
        Ok(self)
    }
}

/// Fails where readings are missing or in disorder: such a run measures something else.
fn check(sent: u64, delivered: u64, disordered: u64) -> Outcome<()> {
    if delivered == sent && disordered == 0 {
        return Ok(());
    }
    Err(format!("{delivered} of {sent} readings came, {disordered} in disorder").into())
}

/// Two roles that are ready; a warm-up, then what is measured. `copies` is how many subscribers the second one has: so
/// often comes each reading.
///
/// # Errors
/// If a process fails, or readings are missing.
pub(super) fn roles(
    publisher: &mut Role,
    subscriber: &mut Role,
    broker: Meter,
    time: Duration,
    copies: u64,
) -> Outcome<Sample> {
    let (before, ..) = publish(publisher, subscriber, 0, time / 10, copies)?;
    publisher.begin()?;
    subscriber.begin()?;
    let broker_before = broker.cpu()?;
    let (sent, began_ns, delivered) = publish(publisher, subscriber, before, time, copies)?;
    let Said::Delivered { readings, last_ns, disordered, .. } = delivered else {
        return Err("a subscriber that does not count".into());
    };
    let sample = Sample {
        sent,
        delivered: readings.saturating_sub(before),
        disordered,
        seconds: seconds_between(began_ns, last_ns),
        publisher: publisher.usage()?,
        subscriber: subscriber.usage()?,
        broker: broker.since(broker_before)?,
    };
    sample.checked()
}

/// Publishes for so long, after `before` readings: the age of each at its delivery.
///
/// # Errors
/// If a process fails, or readings are missing or in disorder.
pub(super) fn ages_ns(
    publisher: &mut Role,
    subscriber: &mut Role,
    before: &mut u64,
    time: Duration,
) -> Outcome<Vec<u64>> {
    let (sent, _, delivered) = publish(publisher, subscriber, *before, time, 1)?;
    let Said::Delivered { readings, disordered, ages_ns, .. } = delivered else {
        return Err("a subscriber that does not count".into());
    };
    *before += sent;
    check(*before, readings, disordered)?;
    Ok(ages_ns)
}

/// The same with two programs, from the line that goes in to the line that comes out.
///
/// # Errors
/// If a program ends, or lines are missing.
pub(super) fn ages_of_lines_ns(
    (lines, printed): &mut (Lines, Printed),
    readings: &mut Readings,
    per_second: u32,
    time: Duration,
) -> Outcome<Vec<u64>> {
    let sent = lines.steadily(readings, per_second, time)?;
    let ages_ns = printed.ages_ns(sent, STALLED);
    check(sent, u64::try_from(ages_ns.len())?, 0)?;
    Ok(ages_ns)
}

/// Publishes for so long and waits for all of it: how many come of it, since when, and what came.
fn publish(
    publisher: &mut Role,
    subscriber: &mut Role,
    before: u64,
    time: Duration,
    copies: u64,
) -> Outcome<(u64, u64, Said)> {
    publisher.ask(Ask::Publish { millis: u64::try_from(time.as_millis())?.max(1) })?;
    let Said::Published { readings, began_ns } = publisher.hear(PATIENCE + time)? else {
        return Err("a publisher that does not publish".into());
    };
    // A disk that stands still for seconds delays readings. They are missing only when the broker has had them all.
    let settled = publisher.hear(PATIENCE)?;
    if settled != Said::Settled {
        return Err(format!("a publisher said {settled:?}").into());
    }
    let readings = readings * copies;
    subscriber.ask(Ask::Expect { readings: before + readings })?;
    Ok((readings, began_ns, subscriber.hear(PATIENCE)?))
}

/// Two programs: lines in, lines out. They are asked until a line comes through, then measured.
///
/// # Errors
/// If a program ends, or readings are missing.
pub(super) fn programs(
    lines: &mut Lines,
    printed: &Printed,
    broker: Meter,
    size: usize,
    time: Duration,
) -> Outcome<Sample> {
    probe(lines, printed)?;
    let warm_up = printed.lines().0 + lines.flood(size, time / 10)?;
    printed.wait_for(warm_up, STALLED);
    // A probe that came late stood in for one of them.
    let before = printed.wait_for(u64::MAX, QUIET).0;
    let [publisher_before, subscriber_before, broker_before] =
        [lines.meter.cpu()?, printed.meter.cpu()?, broker.cpu()?];
    let began_ns = now_ns();
    let sent = lines.flood(size, time)?;
    let (came, last_ns) = printed.wait_for(before + sent, STALLED);
    let sample = Sample {
        sent,
        delivered: came - before,
        disordered: 0,
        seconds: seconds_between(began_ns, last_ns),
        publisher: lines.meter.since(publisher_before)?,
        subscriber: printed.meter.since(subscriber_before)?,
        broker: broker.since(broker_before)?,
    };
    sample.checked()
}

/// Until the two are connected: nothing that they print would say so. Returns how many lines were handed over for it; some
/// may come late, behind what is handed over next.
///
/// # Errors
/// If a program ends, or no line comes through.
pub(super) fn probe(lines: &mut Lines, printed: &Printed) -> Outcome<u64> {
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut probes = 0;
    while printed.lines().0 == 0 {
        if std::time::Instant::now() > deadline {
            return Err("no line came through".into());
        }
        lines.line(PROBE)?;
        probes += 1;
        std::thread::sleep(PROBE_EVERY);
    }
    printed.wait_for(u64::MAX, QUIET);
    Ok(probes)
}

fn seconds_between(began_ns: u64, last_ns: u64) -> f64 {
    count64(last_ns.saturating_sub(began_ns)) / 1e9
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sample() -> Sample {
        let usage = Usage { cpu: Duration::from_millis(3), peak_kib: 1 };
        let (publisher, subscriber, broker) = (usage, usage, usage);
        Sample { sent: 1_000, delivered: 1_000, disordered: 0, seconds: 0.5, publisher, subscriber, broker }
    }

    #[test]
    fn a_run_counts_only_when_every_reading_came_in_order() {
        let whole = sample().checked().unwrap();
        assert_eq!(crate::stats::number(whole.rate()), "2,000");
        assert_eq!(crate::stats::number(whole.micros_of_both()), "6.00");
        let missing = Sample { delivered: 999, ..sample() }.checked().unwrap_err();
        assert_eq!(missing.to_string(), "999 of 1000 readings came, 0 in disorder");
        assert!(Sample { disordered: 1, ..sample() }.checked().is_err());
    }
}
