//! What is measured, one after the other: handshakes, latency, throughput.

use std::time::Duration;

use tokio::time::Instant;

use super::group::Group;
use super::progress::Progress;
use super::report::{Figures, Handshakes, Latency, Throughput};
use super::{LoadArgs, Shape};
use crate::exit::Outcome;

/// Parties that come at once, to see how many handshakes a second there are.
const FRESH: usize = 32;

/// Measures everything.
pub(super) async fn all(group: &mut Group, shape: Shape, load: &LoadArgs, progress: &Progress) -> Outcome<Figures> {
    let handshakes = handshakes(group, shape, progress).await?;
    let first_reading = begin(group, shape, progress).await?;
    let subscribers = u64::try_from(shape.counts(shape.others.into()).1).unwrap_or(u64::MAX);
    let half = Duration::from_secs(load.seconds.into()) / 2;
    let (latency, published) = latency(group, load.rate, half, subscribers, progress).await?;
    let throughput = throughput(group, published, half, subscribers, progress).await?;
    let published = published + throughput.readings;
    let tally = group.tally()?;
    let (received, twice) = (tally.readings().0, tally.twice());
    let expected = published.saturating_mul(subscribers);
    group.finish().await?;
    Ok(Figures { handshakes, first_reading, latency, throughput, published, expected, received, twice })
}

/// Many come at once, all new, and leave when all of them have read something.
async fn handshakes(group: &mut Group, shape: Shape, progress: &Progress) -> Outcome<Handshakes> {
    progress.phase("handshakes", u64::try_from(FRESH).unwrap_or(u64::MAX));
    let began = group.start(shape.counts(FRESH))?;
    let time = group.keyed(progress).await?.saturating_duration_since(began);
    group.finish().await?;
    Ok(Handshakes { count: FRESH, time })
}

/// Starts those that are measured; returns how long it took until every subscriber had read something of every publisher.
async fn begin(group: &mut Group, shape: Shape, progress: &Progress) -> Outcome<Duration> {
    progress.phase("first reading", shape.others.into());
    let began = group.start(shape.counts(shape.others.into()))?;
    Ok(group.keyed(progress).await?.saturating_duration_since(began))
}

/// Few readings, so that none waits for another.
async fn latency(
    group: &mut Group,
    rate: u32,
    time: Duration,
    subscribers: u64,
    progress: &Progress,
) -> Outcome<(Latency, u64)> {
    progress.phase("latency", millis(time));
    let published = group.publish(Some(rate), time, progress).await?;
    group.received(published.saturating_mul(subscribers)).await?;
    let micros = group.tally()?.micros();
    let at = |share| Duration::from_micros(micros.value_at_quantile(share));
    let max = Duration::from_micros(micros.max());
    Ok((Latency { rate, deliveries: micros.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max }, published))
}

/// As many readings as there is room for, until the last one has arrived.
async fn throughput(
    group: &mut Group,
    before: u64,
    time: Duration,
    subscribers: u64,
    progress: &Progress,
) -> Outcome<Throughput> {
    progress.phase("throughput", millis(time));
    let began = Instant::now();
    let published = group.publish(None, time, progress).await?;
    let last = group.received(published.saturating_mul(subscribers)).await?;
    let time = last.map_or(time, |last| last.saturating_duration_since(began));
    Ok(Throughput { readings: published - before, time })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
