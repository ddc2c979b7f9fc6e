//! REPORT: what a subscriber has, and what it wants again.

use std::collections::HashMap;

use super::spool::Place;
use super::{Output, Publisher, Reject};
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::peers::PeerName;
use crate::ranges::RangeSet;
use crate::topic::Control;
use crate::wire::{Receipt, Report, TopicReport};
use crate::{Now, Outgoing, Qos};

/// A subscriber that answered none of so many ticks that asked holds up a full spool no longer.
const PATIENT_TICKS: u8 = 3;
/// From this size on ticks ask what may go.
const ASK_FROM: usize = 256 * 1024;

/// What a subscriber has said of what is kept.
#[derive(Debug, Default)]
pub(super) struct Reported {
    places: HashMap<Place, TopicReport>,
    /// Ticks that have asked since it last said anything.
    unanswered: u8,
}

impl Reported {
    /// Whether it wants nothing of these numbers any more.
    pub(super) fn has(&self, place: Place, from: u32, to: u32) -> bool {
        let lacks = |report: &TopicReport| report.missing.iter().any(|&(a, b)| a < to && from < b);
        self.places.get(&place).is_some_and(|report| to <= report.next && !lacks(report))
    }

    fn take(&mut self, reports: Vec<TopicReport>) {
        self.unanswered = 0;
        self.places.extend(reports.into_iter().map(|report| ((report.run, report.topic), report)));
    }

    pub(super) fn is_silent(&self) -> bool {
        self.unanswered >= PATIENT_TICKS
    }

    pub(super) fn forget(&mut self, gone: impl Fn(&Place) -> bool) {
        self.places.retain(|place, _| !gone(place));
    }
}

/// Readings that a subscriber has not said to have stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported {
    /// The subscriber.
    pub name: PeerName,
    /// The topic.
    pub topic: String,
    /// The first number.
    pub from: u32,
    /// One past the last.
    pub to: u32,
}

impl Publisher {
    pub(super) fn on_report(&mut self, message: &[u8], now: Now, out: &mut Output) -> Result<(), Reject> {
        let report = Report::decode(message)?;
        let id = self.roster.by_session(report.sid).ok_or(Reject::NoSession)?;
        let member = self.roster.get_mut(id).ok_or(Reject::NoSession)?;
        let active = member.active.as_ref().filter(|active| active.sid == report.sid).ok_or(Reject::NoSession)?;
        Report::verify(message, &active.ka).map_err(HandshakeError::from)?;
        if report.sctr <= member.sctr {
            // A replay, which gains nothing, or a subscriber whose state was restored, which must learn of it.
            member.stale = true;
            self.dirty.members.insert(id);
            self.receipt(id, now, out);
            return Err(Reject::Replay);
        }
        member.sctr = report.sctr;
        self.dirty.later.insert(id);
        if report.topics.is_empty() {
            self.receipt(id, now, out);
            return Ok(());
        }
        for topic in &report.topics {
            let place = (topic.run, topic.topic);
            for &(from, to) in &topic.missing {
                self.repair.ask(place, from, to, now.mono_ms);
            }
        }
        if let Some(member) = self.roster.get_mut(id) {
            member.reported.take(report.topics);
        }
        self.trim();
        Ok(())
    }

    /// The highest counter that we have seen of a subscriber, authenticated.
    fn receipt(&mut self, id: PeerId, now: Now, out: &mut Output) {
        let Some(member) = self.roster.get_mut(id) else { return };
        if !member.repeats.take(now.mono_ms) {
            return;
        }
        let Some(active) = member.active.as_ref() else { return };
        let payload = Receipt { sid: active.sid, sctr: member.sctr }.seal(&active.ka);
        let topic = Control::To(id).topic(self.id);
        out.send.push(Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: false });
    }

    /// Whether the next ticks ask each subscriber for a report.
    pub(super) fn asks(&self) -> bool {
        !self.spool.is_empty() && (self.confirming || self.spool.size() > ASK_FROM.min(self.spool.max() / 4))
    }

    /// A tick that asks is on its way.
    pub(super) fn note_asking(&mut self) {
        for (_, member) in self.roster.iter_mut() {
            member.reported.unanswered = member.reported.unanswered.saturating_add(1);
        }
    }

    /// From now on every tick asks, until all subscribers have reported everything.
    pub fn confirm_all(&mut self) {
        self.confirming = true;
        self.due.tick = 0;
    }

    /// What of everything sealed each subscriber has not reported as stored.
    pub fn unreported(&self) -> Vec<Unreported> {
        let mut all = Vec::new();
        for (_, member, _) in self.roster.active() {
            for (place, topic, stretch) in
                self.spool.index().places().filter(|(.., stretch)| stretch.segment >= member.joined)
            {
                let mut has = RangeSet::default();
                if let Some(report) = member.reported.places.get(&place) {
                    let mut at = 0;
                    for &(from, to) in &report.missing {
                        has.insert(at, from);
                        at = to;
                    }
                    has.insert(at, report.next);
                }
                let lacking = has.missing(stretch.from, stretch.to, usize::MAX);
                all.extend(lacking.into_iter().map(|(from, to)| Unreported {
                    name: member.name.clone(),
                    topic: topic.to_string(),
                    from,
                    to,
                }));
            }
        }
        all.sort_by(|a, b| (a.name.as_str(), &a.topic, a.from).cmp(&(b.name.as_str(), &b.topic, b.from)));
        all
    }
}
