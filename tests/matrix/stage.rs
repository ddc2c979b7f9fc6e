//! One step under way: what its programs say and put out, and whether what came out is right as far as it goes.

use std::collections::HashSet;
use std::sync::Mutex;

use super::quirks::{Ends, Quirk};
use crate::parties::reading;

/// Shared by all programs of a step.
pub(super) struct Stage {
    /// What this broker does in this step.
    quirk: Option<&'static Quirk>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// With who said it.
    said: Vec<String>,
    /// Of each subscriber.
    put_out: Vec<Vec<String>>,
}

impl Stage {
    pub(super) fn new(quirk: Option<&'static Quirk>) -> Self {
        Self { quirk, heard: Mutex::default() }
    }

    /// What a program says when waiting for more is in vain.
    pub(super) fn last_word(&self) -> Option<&'static str> {
        self.quirk.filter(|quirk| quirk.ends == Ends::FailsSafe).map(|quirk| quirk.says)
    }

    pub(super) fn hear(&self, who: &str, output: &str) {
        self.heard.lock().unwrap().said.extend(output.lines().map(|line| format!("{who}: {line}")));
    }

    pub(super) fn take(&self, put_out: Vec<String>) {
        self.heard.lock().unwrap().put_out.push(put_out);
    }

    pub(super) fn was_said(&self, text: &str) -> bool {
        self.heard.lock().unwrap().said.iter().any(|line| line.contains(text))
    }

    /// The lines that tell of one of these, and of none of those.
    pub(super) fn tells_of(&self, these: &[&str], but_not: &[&str]) -> Vec<String> {
        let tells = |line: &&String| {
            let line = line.to_lowercase();
            these.iter().any(|word| line.contains(word)) && !but_not.iter().any(|word| line.contains(word))
        };
        self.heard.lock().unwrap().said.iter().filter(tells).cloned().collect()
    }

    /// Whether each subscriber has put out readings of ours, none of them twice.
    pub(super) fn is_right_as_far_as_it_goes(&self) -> bool {
        self.heard.lock().unwrap().put_out.iter().all(|lines| {
            let ours: HashSet<String> = (0..lines.len()).map(reading).collect();
            let got: HashSet<String> = lines.iter().cloned().collect();
            got.len() == lines.len() && got.is_subset(&ours)
        })
    }
}
