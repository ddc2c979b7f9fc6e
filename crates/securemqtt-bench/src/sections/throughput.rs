//! Readings a second and processor time a reading, side by side.

use std::time::Duration;

use super::contender::{Contender, Kind, Shape};
use super::run::Sample;
use super::{Bench, progress};
use crate::process::Usage;
use crate::report::Section;
use crate::stats::{Summary, cell, count64, number};
use crate::table::Table;

/// Bytes of a reading, as telemetry has them.
pub(super) const SIZE: usize = 96;

/// The rows of one quality of service; the first is what the others are compared with.
fn rows(qos: u8) -> Vec<Contender> {
    use Kind::{Mosquitto, Ours, Plain, Programs, Python};
    let new = |name, kind| Contender::new(name, kind, qos);
    let mut rows = vec![
        new("rumqttc, plaintext", Plain),
        new("rumqttc, plaintext over TLS", Plain).over_tls(),
        new("securemqtt, no spool", Ours),
        new("securemqtt over TLS, no spool", Ours).over_tls(),
    ];
    if qos > 0 {
        rows.push(new("securemqtt, spool", Ours).spooled());
    }
    rows.push(new("securemqtt, linger 10 ms, no spool", Ours).lingering());
    if qos > 0 {
        rows.push(new("securemqtt, linger 10 ms, spool", Ours).lingering().spooled());
    }
    rows.push(new("mosquitto_pub, mosquitto_sub, plaintext", Mosquitto));
    rows.push(new("mqtt-publisher, mqtt-subscriber, no spool", Programs));
    if qos > 0 {
        rows.push(new("mqtt-publisher, mqtt-subscriber, spool", Programs).spooled());
        rows.push(new("mqtt-publisher, mqtt-subscriber, linger 10 ms, spool", Programs).lingering().spooled());
    }
    rows.push(new("Python baseline", Python));
    rows
}

/// The runs of a row, in the order of the rounds; `None` where one failed.
type Runs = Vec<Option<Sample>>;

/// Measures all rows in turn, round after round.
pub(super) fn section(bench: &Bench) -> Section {
    let mut section = Section::new("Throughput");
    section.note(format!(
        "Readings of {SIZE} bytes, as fast as they go, for {:?} a run; rows take turns, runs of each: {}. \
         Medians, and in brackets the lowest and the highest. Ratios are to the first row of the table in the same round. \
         Processor time is of the whole process, by the operating system, without start and handshake.",
        time(bench),
        bench.runs
    ));
    for qos in [0, 1] {
        let mut rows = rows(qos);
        let mut is_first = true;
        rows.retain(|row| std::mem::take(&mut is_first) || row.name.contains(&bench.rows));
        let runs = measure(bench, &rows, &mut section);
        section.note(format!("### QoS {qos}"));
        section.table(&table(&rows, &runs));
        if qos == 0 {
            versus_clients(&rows, &runs, &mut section);
        }
    }
    section
}

fn time(bench: &Bench) -> Duration {
    bench.pick(Duration::from_millis(2_500), Duration::from_millis(300))
}

fn measure(bench: &Bench, rows: &[Contender], section: &mut Section) -> Vec<Runs> {
    let shape = Shape { size: SIZE, time: time(bench), per_second: None };
    let mut runs: Vec<Runs> = vec![Vec::new(); rows.len()];
    for round in 1..=bench.runs {
        for (row, runs) in rows.iter().zip(&mut runs) {
            let run = row.run(bench, shape);
            let told = run.as_ref().map_or_else(ToString::to_string, |run| format!("{}/s", number(run.rate())));
            progress(&format!("throughput, QoS {}, round {round}: {}: {told}", row.qos, row.name));
            if let Err(why) = &run {
                section.missing(&format!("{} at QoS {}: {why}.", row.name, row.qos));
            }
            runs.push(run.ok());
        }
    }
    runs
}

fn table(rows: &[Contender], runs: &[Runs]) -> Table {
    let mut table = Table::new([
        "what",
        "readings/s",
        "of plaintext",
        "publisher, µs a reading",
        "subscriber, µs a reading",
        "both, of plaintext",
        "broker, µs a reading",
        "peak memory, MiB",
    ]);
    let Some(plain) = runs.first() else { return table };
    for (row, runs) in rows.iter().zip(runs) {
        let summary = |value: &dyn Fn(&Sample) -> f64| cell(Summary::of(runs.iter().flatten().map(value)));
        let ratio = |value: &dyn Fn(&Sample) -> f64| cell(ratio(runs, plain, value));
        table.row([
            row.name.to_owned(),
            summary(&Sample::rate),
            ratio(&Sample::rate),
            summary(&|run| run.micros(run.publisher)),
            summary(&|run| run.micros(run.subscriber)),
            ratio(&Sample::micros_of_both),
            summary(&|run| run.micros(run.broker)),
            runs.iter().flatten().next_back().map_or_else(|| "–".to_owned(), memory),
        ]);
    }
    table
}

/// Round by round: a row's value over the yardstick's.
fn ratio(runs: &Runs, plain: &Runs, value: &dyn Fn(&Sample) -> f64) -> Option<Summary> {
    Summary::of(runs.iter().zip(plain).filter_map(|(run, plain)| Some(value(run.as_ref()?) / value(plain.as_ref()?))))
}

/// The one goal that has another yardstick.
fn versus_clients(rows: &[Contender], runs: &[Runs], section: &mut Section) {
    let of = |kind| rows.iter().position(|row: &Contender| row.kind == kind).and_then(|index| runs.get(index));
    let Some(clients) = of(Kind::Mosquitto) else { return };
    for (kind, name) in [(Kind::Ours, "securemqtt, no spool"), (Kind::Programs, "mqtt-publisher, mqtt-subscriber")] {
        if let Some(ratio) = of(kind).and_then(|ours| ratio(ours, clients, &Sample::rate)) {
            section.note(format!("{name}, to mosquitto_pub and mosquitto_sub: {ratio}"));
        }
    }
}

/// Publisher, subscriber, broker.
fn memory(run: &Sample) -> String {
    let mib = |usage: Usage| number(count64(usage.peak_kib) / 1024.0);
    [run.publisher, run.subscriber, run.broker].map(mib).join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sent: u64, micros: u64) -> Sample {
        let usage = Usage { cpu: Duration::from_micros(micros), peak_kib: 2048 };
        let (publisher, subscriber, broker) = (usage, usage, usage);
        Sample { sent, delivered: sent, disordered: 0, seconds: 2.0, publisher, subscriber, broker }
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_a_failed_run_is_left_out() {
        let plain = vec![Some(sample(100, 100)), Some(sample(200, 100)), Some(sample(100, 100))];
        let ours = vec![Some(sample(50, 100)), None, Some(sample(100, 200))];
        let rate = ratio(&ours, &plain, &Sample::rate);
        assert_eq!(rate, Some(Summary { median: 0.75, min: 0.5, max: 1.0 }));
        let text = table(&rows(0)[..2], &[plain, ours]).to_string();
        assert!(text.contains("0.750 (0.500–1.00)") && text.contains("2.00 / 2.00 / 2.00"), "{text}");
    }

    #[test]
    fn a_row_that_could_not_be_measured_is_dashes() {
        let text = table(&rows(0)[..2], &[vec![None], vec![Some(sample(1, 1))]]).to_string();
        assert!(text.lines().nth(2).is_some_and(|line| line.matches('–').count() == 7), "{text}");
        assert_eq!(rows(0).first().map(|row| row.kind), Some(Kind::Plain));
    }
}
