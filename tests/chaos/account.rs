//! What went in is compared with what came out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::feeder::Life;

/// Publisher, life, number.
type Place = (String, u64, u64);

/// The output file of one subscriber.
#[derive(Debug, Default)]
pub(super) struct Account {
    readings: BTreeSet<Place>,
    /// How many readings it has reported missing, and how many of those it reported to have come late.
    pub(super) reported: (u64, u64),
    /// Lines that showed a reading again.
    pub(super) twice: Vec<Place>,
    /// Readings behind a later one of their topic.
    pub(super) inversions: usize,
    /// Those of them that no earlier line had reported missing.
    pub(super) unannounced: Vec<Place>,
    /// Lines that are no object: a half of a line, for example.
    pub(super) broken: Vec<String>,
}

impl Account {
    pub(super) fn of(text: &str) -> Self {
        let mut account = Self::default();
        let mut latest: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut missing: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for line in text.lines() {
            let Ok(object) = serde_json::from_str::<Value>(line) else {
                account.broken.push(line.to_owned());
                continue;
            };
            let topic = object["topic"].as_str().unwrap_or_default().to_owned();
            if let Some(event) = object["event"].as_str() {
                let count = object["count"].as_u64().unwrap_or_default();
                match event {
                    "missing" => account.reported.0 += count,
                    "late" => account.reported.1 += count,
                    _ => {}
                }
                if event == "missing" {
                    missing.entry(topic).or_default().push((number(&object["from"]), number(&object["to"])));
                }
                continue;
            }
            let payload = &object["payload"];
            let place =
                (payload["p"].as_str().unwrap_or("?").to_owned(), number(&payload["life"]), number(&payload["n"]));
            let at = (place.1, place.2);
            let latest = latest.entry(topic.clone()).or_default();
            if at < *latest {
                account.inversions += 1;
                let seq = number(&object["seq"]);
                let told =
                    missing.get(&topic).is_some_and(|spans| spans.iter().any(|(from, to)| (*from..*to).contains(&seq)));
                if !told {
                    account.unannounced.push(place.clone());
                }
            }
            *latest = at.max(*latest);
            if !account.readings.insert(place.clone()) {
                account.twice.push(place);
            }
        }
        account
    }

    pub(super) fn delivered(&self) -> usize {
        self.readings.len()
    }

    /// Of a life, the first number that must have come and has not: a hole, or the end of what must be there.
    fn first_lost(&self, life: &Life) -> Option<u64> {
        let (publisher, number) = (&life.publisher, u64::try_from(life.number).unwrap());
        let written = u64::try_from(life.written).unwrap();
        let came = |n: &u64| self.readings.contains(&(publisher.clone(), number, *n));
        let last = (0..written).rev().find(came);
        let must = u64::try_from(life.must).unwrap().max(last.map_or(0, |last| last + 1));
        (0..must).find(|n| !came(n))
    }

    /// A line for each life of which something is lost.
    pub(super) fn lost(&self, lives: &[Life]) -> Vec<String> {
        let lost = lives.iter().filter_map(|life| Some((life, self.first_lost(life)?)));
        lost.map(|(life, n)| {
            format!("{} life {} of {} lines: first lost {n}", life.publisher, life.number, life.written)
        })
        .collect()
    }

    /// What another subscriber has and this one has not.
    pub(super) fn lacks(&self, other: &Self) -> usize {
        other.readings.difference(&self.readings).count()
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

mod tests {
    use super::{Account, Life};

    fn reading(life: u64, n: u64) -> String {
        format!("{{\"topic\":\"t\",\"seq\":{n},\"payload\":{{\"p\":\"a\",\"life\":{life},\"n\":{n}}}}}\n")
    }

    fn life(number: usize, written: usize, must: usize) -> Life {
        Life { publisher: "a".to_owned(), number, written, must }
    }

    #[test]
    fn a_hole_is_lost_and_so_is_the_end_of_what_was_taken() {
        let account = Account::of(&[reading(0, 0), reading(0, 1), reading(1, 0), reading(1, 2)].concat());
        assert!(account.lost(&[life(0, 5, 2)]).is_empty());
        assert_eq!(account.lost(&[life(0, 5, 3)]), ["a life 0 of 5 lines: first lost 2"]);
        assert_eq!(account.lost(&[life(1, 9, 0)]), ["a life 1 of 9 lines: first lost 1"]);
        assert_eq!(account.lost(&[life(2, 1, 1)]).len(), 1);
    }

    #[test]
    fn a_reading_shown_twice_is_seen_and_half_a_line_too() {
        let account = Account::of(&[reading(0, 0), reading(0, 0), "{\"topic\":".to_owned()].concat());
        assert_eq!((account.twice.len(), account.delivered(), account.broken.len()), (1, 1, 1));
    }

    #[test]
    fn an_inversion_needs_a_report_before_it() {
        let report = "{\"event\":\"missing\",\"topic\":\"t\",\"from\":1,\"to\":2}\n".to_owned();
        let told = Account::of(&[reading(0, 0), reading(0, 2), report.clone(), reading(0, 1)].concat());
        assert_eq!((told.inversions, told.unannounced.len()), (1, 0));
        let untold = Account::of(&[reading(0, 0), reading(0, 2), reading(0, 1), report].concat());
        assert_eq!((untold.inversions, untold.unannounced.len()), (1, 1));
    }

    #[test]
    fn what_one_has_and_the_other_has_not() {
        let (one, other) = (Account::of(&reading(0, 0)), Account::of(&[reading(0, 0), reading(0, 1)].concat()));
        assert_eq!((one.lacks(&other), other.lacks(&one)), (1, 0));
    }
}
