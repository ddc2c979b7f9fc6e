//! What a publisher keeps over a restart: which of its records have changed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Publisher;
use super::own::{self, OwnRef};
use crate::identity::PeerId;
use crate::record::{Change, Table};
use crate::wire::RunPositions;

/// The version of the small records here.
pub(super) const VERSION: u8 = 1;

/// What has changed since the last [`Publisher::take_changes`].
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Stream, hellos, rotation.
    pub(super) own: bool,
    /// Subscribers whose session has changed.
    pub(super) members: BTreeSet<PeerId>,
    /// The same, where it is soon enough with the next commit.
    pub(super) later: HashSet<PeerId>,
    /// Whether the current run, or that it has ended, is to be stored.
    pub(super) run: bool,
    /// How far topics of runs before this one went: run, topic, next.
    pub(super) moved: Vec<([u8; 5], Arc<str>, u32)>,
    /// Runs that are forgotten.
    pub(super) runs_gone: Vec<RunPositions>,
    /// The mark of the spool that is stored.
    pub(super) mark: u64,
}

impl Publisher {
    /// Whether anything has changed that must be durable before what was sealed or said since leaves.
    pub fn has_changes(&self) -> bool {
        let dirty = &self.dirty;
        dirty.own || dirty.run || !dirty.members.is_empty() || self.spool.has_changes()
    }

    /// Whether there is also something that can wait for another change.
    pub fn has_later_changes(&self) -> bool {
        let dirty = &self.dirty;
        let marked = dirty.mark == self.spool.acknowledged_below();
        self.has_changes()
            || !dirty.later.is_empty()
            || !dirty.runs_gone.is_empty()
            || self.spool.has_removals()
            || !marked
    }

    /// What has changed since the last call, to be stored in one transaction.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.dirty.own) {
            changes.push(Change { table: Table::Own, key: Vec::new(), value: Some(self.encode_own()) });
        }
        let ids: BTreeSet<PeerId> =
            std::mem::take(&mut self.dirty.members).into_iter().chain(self.dirty.later.drain()).collect();
        let trust = &self.trust;
        changes.extend(self.roster.changes(ids, |key| trust.known().by_key(key).is_some()));
        self.store_runs(&mut changes);
        for (number, bytes) in self.spool.take_changes() {
            let value = bytes.map(Zeroizing::new);
            changes.push(Change { table: Table::Segment, key: number.to_be_bytes().to_vec(), value });
        }
        let mark = self.spool.acknowledged_below();
        if mark != self.dirty.mark {
            self.dirty.mark = mark;
            changes.push(Change::put(Table::Mark, Vec::new(), [&[VERSION][..], &mark.to_be_bytes()].concat()));
        }
        changes
    }

    fn encode_own(&self) -> Zeroizing<Vec<u8>> {
        own::encode(&OwnRef {
            stream: self.sealer.stream(),
            epoch: &self.epoch,
            hello: &self.hello,
            previous_hello: self.previous_hello.as_ref(),
            challenge_ms: self.challenge_unix_ms,
            next: self.rotation.as_ref().map(|rotation| &rotation.next),
            order: self.order,
        })
    }

    /// The current run with the topics that moved, and what of older runs is forgotten.
    fn store_runs(&mut self, changes: &mut Vec<Change>) {
        let run = self.sealer.run();
        if std::mem::take(&mut self.dirty.run) {
            changes.push(Change::put(
                Table::OwnRun,
                run.to_vec(),
                encode_run(self.stream(), self.order, self.is_exact),
            ));
        }
        // Where frames are not spooled, what was sealed is known exactly at the end of the run only.
        if self.is_exact {
            for (topic, next) in self.sealer.take_moved() {
                changes.push(Change::put(Table::OwnTopic, topic_key(run, &topic), encode_topic(next)));
            }
        }
        for (run, topic, next) in std::mem::take(&mut self.dirty.moved) {
            changes.push(Change::put(Table::OwnTopic, topic_key(run, &topic), encode_topic(next)));
        }
        for gone in std::mem::take(&mut self.dirty.runs_gone) {
            changes.push(Change::remove(Table::OwnRun, gone.run.to_vec()));
            let key = |topic: &str| topic_key(gone.run, topic);
            let topics = gone.topics.iter().map(|topic| Change::remove(Table::OwnTopic, key(&topic.topic)));
            changes.extend(topics);
        }
    }
}

fn topic_key(run: [u8; 5], topic: &str) -> Vec<u8> {
    [&run[..], topic.as_bytes()].concat()
}

/// `version | stream 4 | order 4 | exact 1`: of a run that is not exact nothing is known but that it was.
fn encode_run(stream: u32, order: u32, exact: bool) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&order.to_be_bytes());
    out.push(u8::from(exact));
    out
}

/// `version | next 4`.
fn encode_topic(next: u32) -> Vec<u8> {
    [&[VERSION][..], &next.to_be_bytes()].concat()
}
