//! `--simulate vitals`: a patient's vital signs as a walk that drifts back to its mean.

use std::time::{SystemTime, UNIX_EPOCH};

use rand_core::TryRng;
use securemqtt_cli::exit::{Exit, Failure, Outcome};

use super::{Item, Reading, Source};

/// The simulated patient.
const PATIENT_ID: u32 = 101;

/// One vital sign: a discrete Ornstein-Uhlenbeck process, `x += pull·(mean − x) + step·N(0, 1)`, whose spread in the long run
/// is `step / √(2·pull)`.
struct Sign {
    mean: f64,
    pull: f64,
    step: f64,
    range: (f64, f64),
}

/// Beats a minute: 78 ± 6.
const HEART_RATE: Sign = Sign { mean: 78.0, pull: 0.04, step: 1.7, range: (48.0, 140.0) };
/// Degrees Celsius: 36.7 ± 0.15.
const TEMPERATURE: Sign = Sign { mean: 36.7, pull: 0.02, step: 0.03, range: (35.5, 39.0) };
/// Per cent: 97.5 ± 0.8.
const SPO2: Sign = Sign { mean: 97.5, pull: 0.08, step: 0.32, range: (92.0, 100.0) };

impl Sign {
    /// A value drawn from the spread of the long run, so that the walk does not start at its mean each time.
    fn start(&self, normal: f64) -> f64 {
        self.clamp(self.mean + normal * self.step / (2.0 * self.pull).sqrt())
    }

    fn next(&self, value: f64, normal: f64) -> f64 {
        self.clamp(value + self.pull * (self.mean - value) + self.step * normal)
    }

    fn clamp(&self, value: f64) -> f64 {
        value.clamp(self.range.0, self.range.1)
    }
}

#[derive(Clone, Copy)]
struct Vitals {
    heart_rate: f64,
    temperature: f64,
    spo2: f64,
}

/// Endless simulated readings. Randomness and time are arguments.
pub struct VitalsSource<R, C> {
    rng: R,
    clock: C,
    now: Option<Vitals>,
}

impl<R, C> VitalsSource<R, C>
where
    R: TryRng + Send,
    C: Fn() -> SystemTime + Send,
{
    /// A patient at rest.
    pub fn new(rng: R, clock: C) -> Self {
        Self { rng, clock, now: None }
    }

    fn step(&mut self) -> Result<Vitals, R::Error> {
        let [a, b, c] = [self.normal()?, self.normal()?, self.normal()?];
        let next = match self.now {
            None => Vitals { heart_rate: HEART_RATE.start(a), temperature: TEMPERATURE.start(b), spo2: SPO2.start(c) },
            Some(now) => Vitals {
                heart_rate: HEART_RATE.next(now.heart_rate, a),
                temperature: TEMPERATURE.next(now.temperature, b),
                spo2: SPO2.next(now.spo2, c),
            },
        };
        self.now = Some(next);
        Ok(next)
    }

    /// Nearly N(0, 1): four uniform numbers, summed and scaled to variance 1 (Irwin-Hall).
    fn normal(&mut self) -> Result<f64, R::Error> {
        let bits = self.rng.try_next_u64()?;
        let sum: f64 = bits
            .to_le_bytes()
            .chunks_exact(2)
            .map(|pair| f64::from(u16::from_le_bytes([pair[0], pair[1]])) / 65536.0)
            .sum();
        Ok((sum - 2.0) * 3f64.sqrt())
    }
}

impl<R, C> Source for VitalsSource<R, C>
where
    R: TryRng + Send,
    C: Fn() -> SystemTime + Send,
{
    fn next(&mut self) -> Outcome<Option<Item>> {
        let vitals =
            self.step().map_err(|error| Failure::new(Exit::Io, format!("the system's randomness failed: {error}")))?;
        let payload = json(vitals, &time_of_day((self.clock)())).into_bytes();
        Ok(Some(Item::Reading(Reading { line: None, payload })))
    }
}

fn json(vitals: Vitals, timestamp: &str) -> String {
    let Vitals { heart_rate, temperature, spo2 } = vitals;
    format!(
        "{{\"patient_id\": {PATIENT_ID}, \"heart_rate\": {heart_rate:.0}, \"temperature\": {temperature:.1}, \
         \"spo2\": {spo2:.0}, \"timestamp\": \"{timestamp}\"}}"
    )
}

/// `HH:MM:SS`, UTC.
fn time_of_day(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() % 86_400);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::time::Duration;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn source(seed: u64) -> VitalsSource<ChaCha8Rng, impl Fn() -> SystemTime + Send> {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        VitalsSource::new(rng, || UNIX_EPOCH + Duration::from_secs(86_400 + 13_427))
    }

    #[test]
    fn spacing_and_order_are_those_of_the_demo() {
        let vitals = Vitals { heart_rate: 83.2, temperature: 36.72, spo2: 97.9 };
        assert_eq!(
            json(vitals, "03:43:47"),
            r#"{"patient_id": 101, "heart_rate": 83, "temperature": 36.7, "spo2": 98, "timestamp": "03:43:47"}"#
        );
    }

    #[test]
    fn readings_are_json_with_the_clocks_time() {
        let Some(Item::Reading(reading)) = source(1).next().unwrap() else { panic!("no reading") };
        let value: serde_json::Value = serde_json::from_slice(&reading.payload).unwrap();
        assert_eq!(value["patient_id"], 101);
        assert_eq!(value["timestamp"], "03:43:47");
    }

    #[test]
    fn it_is_a_walk_around_a_mean_and_not_noise() {
        let mut source = source(7);
        let walk: Vec<f64> = (0..20_000).map(|_| source.step().unwrap().heart_rate).collect();
        let count = f64::from(u32::try_from(walk.len()).unwrap());
        let mean = walk.iter().sum::<f64>() / count;
        let variance = walk.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let steps = walk.windows(2).map(|w| (w[1] - w[0]).powi(2)).sum::<f64>() / count;
        assert!((mean - HEART_RATE.mean).abs() < 2.0, "mean {mean}");
        assert!((3.0..9.0).contains(&variance.sqrt()), "spread {}", variance.sqrt());
        // For noise this would be 2.
        assert!(steps / variance < 0.2, "{}", steps / variance);
    }

    #[test]
    fn every_value_stays_in_its_range() {
        let mut source = source(3);
        for _ in 0..20_000 {
            let vitals = source.step().unwrap();
            for (sign, value) in
                [(HEART_RATE, vitals.heart_rate), (TEMPERATURE, vitals.temperature), (SPO2, vitals.spo2)]
            {
                assert!((sign.range.0..=sign.range.1).contains(&value));
            }
        }
    }
}
