//! What was measured: for people, and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use securemqtt_client::mqtt::MqttVersion;
use securemqtt_core::Qos;
use serde_json::{Value, json};

use super::site::Site;
use super::{LoadArgs, Shape};

/// Everything that was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) handshakes: Handshakes,
    /// From the start of the parties until each subscriber had read something of each publisher.
    pub(super) first_reading: Duration,
    pub(super) latency: Latency,
    pub(super) throughput: Throughput,
    pub(super) published: u64,
    /// What was published, once for every subscriber.
    pub(super) expected: u64,
    pub(super) received: u64,
    pub(super) twice: u64,
}

/// New parties, all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshakes {
    pub(super) count: usize,
    pub(super) time: Duration,
}

/// From publish to delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) rate: u32,
    pub(super) deliveries: u64,
    pub(super) p50: Duration,
    pub(super) p90: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

/// From the first publish to the last delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Throughput {
    pub(super) readings: u64,
    pub(super) time: Duration,
}

impl Figures {
    pub(super) fn missing(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

/// The figures, and what they are of.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) figures: Figures,
    program: &'static str,
    broker: String,
    mqtt: &'static str,
    pub(super) qos: Qos,
    pub(super) spool: bool,
    size: u32,
    publishers: usize,
    subscribers: usize,
}

impl Report {
    pub(super) fn new(shape: Shape, load: &LoadArgs, site: &Site, figures: Figures) -> Self {
        let (publishers, subscribers) = shape.counts(shape.others.into());
        Self {
            figures,
            program: shape.role.program(),
            broker: site.broker().address.to_string(),
            mqtt: if site.broker().version == MqttVersion::V5 { "5" } else { "3.1.1" },
            qos: site.qos,
            spool: site.spool > 0,
            size: load.size,
            publishers,
            subscribers,
        }
    }

    /// One object.
    pub(super) fn json(&self) -> Value {
        let Figures { handshakes, first_reading, latency, throughput, published, expected, received, twice } =
            self.figures;
        json!({
            "program": self.program, "version": env!("CARGO_PKG_VERSION"),
            "broker": self.broker, "mqtt": self.mqtt, "qos": u8::from(self.qos == Qos::AtLeastOnce), "spool": self.spool,
            "size": self.size, "publishers": self.publishers, "subscribers": self.subscribers,
            "handshakes": {
                "count": handshakes.count, "seconds": seconds(handshakes.time),
                "per_second": tenths(handshakes.per_second()), "first_reading_ms": millis(first_reading),
            },
            "latency": {
                "rate": latency.rate, "deliveries": latency.deliveries, "p50_ms": millis(latency.p50),
                "p90_ms": millis(latency.p90), "p99_ms": millis(latency.p99), "max_ms": millis(latency.max),
            },
            "throughput": {
                "readings": throughput.readings, "seconds": seconds(throughput.time),
                "readings_per_second": tenths(throughput.per_second()), "megabytes_per_second": self.megabytes_per_second(),
            },
            "published": published, "expected": expected, "received": received,
            "missing": self.figures.missing(), "twice": twice,
        })
    }

    /// A short table, and a sentence on what it shows.
    pub(super) fn table(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|[_, value, _]| value.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for [what, value, of] in rows {
            // A string takes everything.
            let _ = writeln!(text, "{}", format!("{what:<13}  {value:<width$}  {of}").trim_end());
        }
        text + "\nFrom the publisher's side to the subscriber's, decrypted and verified, through the broker; both sides run here.\n"
    }

    fn rows(&self) -> Vec<[String; 3]> {
        let Figures { handshakes, first_reading, latency, throughput, .. } = self.figures;
        let row = |what: &str, value: String, of: String| [what.to_owned(), value, of];
        let at_rate = format!("{} deliveries; {} readings/s a publisher", latency.deliveries, latency.rate);
        let seconds = throughput.time.as_secs_f64();
        vec![
            row("broker", self.broker.clone(), self.manner()),
            row("parties", parties(self.publishers, self.subscribers), format!("readings of {} bytes", self.size)),
            row(
                "handshakes",
                format!("{:.1} /s", handshakes.per_second()),
                format!("{} new parties at once", handshakes.count),
            ),
            row("first reading", time(first_reading), "after the start of a party, with its connection".to_owned()),
            row("latency p50", time(latency.p50), at_rate),
            row("latency p90", time(latency.p90), String::new()),
            row("latency p99", time(latency.p99), String::new()),
            row("latency max", time(latency.max), String::new()),
            row(
                "throughput",
                format!("{:.0} readings/s", throughput.per_second()),
                format!("{} readings in {seconds:.2} s", throughput.readings),
            ),
            row("", format!("{:.3} MB/s", self.megabytes_per_second()), "without what sealing adds".to_owned()),
            row("received", self.received(), self.not_once()),
        ]
    }

    fn manner(&self) -> String {
        let spool = if self.spool { "with a spool" } else { "without a spool" };
        format!("MQTT {}, QoS {}, {spool}", self.mqtt, u8::from(self.qos == Qos::AtLeastOnce))
    }

    fn received(&self) -> String {
        format!("{} of {}", self.figures.received, self.figures.expected)
    }

    fn not_once(&self) -> String {
        format!("{} missing, {} twice", self.figures.missing(), self.figures.twice)
    }

    fn megabytes_per_second(&self) -> f64 {
        (self.figures.throughput.per_second() * f64::from(self.size) / 1e3).round() / 1e3
    }
}

impl Handshakes {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn per_second(&self) -> f64 {
        per_second(self.count as f64, self.time)
    }
}

impl Throughput {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn per_second(&self) -> f64 {
        per_second(self.readings as f64, self.time)
    }
}

fn per_second(count: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count / time.as_secs_f64() }
}

/// A number of milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// To a tenth.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn time(time: Duration) -> String {
    format!("{:.2} ms", millis(time))
}

fn parties(publishers: usize, subscribers: usize) -> String {
    let s = |count| if count == 1 { "" } else { "s" };
    format!("{publishers} publisher{}, {subscribers} subscriber{}", s(publishers), s(subscribers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let ms = Duration::from_millis;
        let figures = Figures {
            handshakes: Handshakes { count: 32, time: ms(400) },
            first_reading: ms(12),
            latency: Latency { rate: 100, deliveries: 1000, p50: ms(1), p90: ms(2), p99: ms(3), max: ms(40) },
            throughput: Throughput { readings: 10_000, time: ms(2_500) },
            published: 10_500,
            expected: 21_000,
            received: 20_999,
            twice: 1,
        };
        Report {
            figures,
            program: "mqtt-publisher",
            broker: "mqtt://localhost:1883".to_owned(),
            mqtt: "5",
            qos: Qos::AtLeastOnce,
            spool: true,
            size: 1000,
            publishers: 1,
            subscribers: 2,
        }
    }

    #[test]
    fn a_table_has_columns_and_units() {
        let table = report().table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "broker         mqtt://localhost:1883       MQTT 5, QoS 1, with a spool");
        assert_eq!(lines[1], "parties        1 publisher, 2 subscribers  readings of 1000 bytes");
        assert_eq!(lines[2], "handshakes     80.0 /s                     32 new parties at once");
        assert_eq!(lines[7], "latency max    40.00 ms");
        assert_eq!(lines[8], "throughput     4000 readings/s             10000 readings in 2.50 s");
        assert_eq!(lines[10], "received       20999 of 21000              1 missing, 1 twice");
    }

    #[test]
    fn programs_get_numbers_in_the_units_of_their_names() {
        let json = report().json();
        assert_eq!((&json["handshakes"]["per_second"], &json["latency"]["max_ms"]), (&json!(80.0), &json!(40.0)));
        assert_eq!(json["throughput"]["megabytes_per_second"], 4.0);
        assert_eq!((&json["missing"], &json["twice"], &json["qos"]), (&json!(1), &json!(1), &json!(1)));
    }
}
