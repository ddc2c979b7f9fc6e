//! REPORT: what a subscriber has, and what it wants again. What all of them have may leave the spool.

use std::collections::{BTreeMap, HashMap};

use super::member::Member;
use super::spool::{Gone, Place};
use super::{Event, Output, Publisher, Reject};
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
    fn has(&self, place: Place, from: u32, to: u32) -> bool {
        let lacks = |report: &TopicReport| report.missing.iter().any(|&(a, b)| a < to && from < b);
        self.places.get(&place).is_some_and(|report| to <= report.next && !lacks(report))
    }

    fn take(&mut self, reports: Vec<TopicReport>) {
        self.unanswered = 0;
        self.places.extend(reports.into_iter().map(|report| ((report.run, report.topic), report)));
    }

    fn is_silent(&self) -> bool {
        self.unanswered >= PATIENT_TICKS
    }

    fn forget(&mut self, gone: impl Fn(&Place) -> bool) {
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

/// Who lost, in which topic of which run.
type Loser = (Option<PeerName>, String, [u8; 5]);

/// What had to leave the spool and was not told of yet: to whom it is lost (to nobody in particular if the broker never
/// had it), of which topic, from where to where.
#[derive(Debug, Default)]
pub(super) struct Losses {
    spans: BTreeMap<Loser, (u32, u32)>,
}

impl Losses {
    fn note(&mut self, name: Option<&PeerName>, run: [u8; 5], topic: &str, from: u32, to: u32) {
        let span = self.spans.entry((name.cloned(), topic.to_owned(), run)).or_insert((from, to));
        *span = (span.0.min(from), span.1.max(to));
    }
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

    /// Lets go what the broker has and every subscriber has reported.
    pub(super) fn trim(&mut self) {
        while self.spool.front_is_acknowledged() {
            let roster = &self.roster;
            let all_have = |number, spans: &_| roster.active().all(|(_, member, _)| settled(member, number, spans));
            let Some(gone) = self.spool.pop_front_if(all_have) else {
                self.held_up = Some(self.spool.first());
                return;
            };
            self.after(&gone);
        }
    }

    /// The broker has more. Who holds up the front segment does so until its next report: it is not asked at every
    /// acknowledgement.
    pub(super) fn trim_if_new(&mut self) {
        if self.held_up != Some(self.spool.first()) {
            self.trim();
        }
    }

    /// Makes room for a reading: what the broker has goes if nobody waits for it who still speaks. It is told as lost to
    /// those who have not reported it.
    pub(super) fn make_room(&mut self, bytes: usize) -> bool {
        while !self.spool.has_room(bytes) {
            if !self.spool.front_is_acknowledged() {
                return false;
            }
            let roster = &self.roster;
            let gone = self.spool.pop_front_if(|number, spans| {
                let holds_up = |member: &Member| !settled(member, number, spans) && !member.reported.is_silent();
                !roster.active().any(|(_, member, _)| holds_up(member))
            });
            let Some(gone) = gone else { return false };
            self.note_lost(&gone);
            self.after(&gone);
        }
        true
    }

    /// Drops the oldest, whoever waits for it: a live simulation does not stand still.
    pub(super) fn drop_oldest(&mut self, bytes: usize) {
        while !self.spool.has_room(bytes) {
            let Some(gone) = self.spool.pop_front_if(|_, _| true) else { return };
            if gone.unacknowledged > 0 {
                gone.spans
                    .iter()
                    .for_each(|(place, topic, from, to)| self.losses.note(None, place.0, topic, *from, *to));
            } else {
                self.note_lost(&gone);
            }
            self.after(&gone);
        }
    }

    fn note_lost(&mut self, gone: &Gone) {
        for (_, member, _) in self.roster.active().filter(|(_, member, _)| gone.number >= member.joined) {
            for (place, topic, from, to) in &gone.spans {
                if !member.reported.has(*place, *from, *to) {
                    self.losses.note(Some(&member.name), place.0, topic, *from, *to);
                }
            }
        }
    }

    /// Tells what had to go, together for each topic: with the ticks, for a spool that is full loses something with every
    /// reading.
    pub(super) fn tell_losses(&mut self, out: &mut Output) {
        for ((name, topic, _), (from, to)) in std::mem::take(&mut self.losses.spans) {
            out.events.push(match name {
                Some(name) => Event::LostTo(Unreported { name, topic, from, to }),
                None => Event::Dropped { topic, from, to },
            });
        }
    }

    fn after(&mut self, gone: &Gone) {
        let spool = &self.spool;
        let gone_for_good = |place: &Place| spool.index().find(*place, 0, u32::MAX).is_none();
        let places: Vec<Place> =
            gone.spans.iter().map(|(place, ..)| *place).filter(|place| gone_for_good(place)).collect();
        if places.is_empty() {
            return;
        }
        // The current run's topics come again; a report of theirs must not be forgotten between two frames.
        let run = self.sealer.run();
        for (_, member) in self.roster.iter_mut() {
            member.reported.forget(|place| place.0 != run && places.contains(place));
        }
        for past in self.past.prune(&self.spool) {
            self.dirty.runs_gone.push(past.positions);
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

/// Whether a member has reported all of a segment, or was not there yet when it was sealed.
fn settled(member: &Member, number: u64, spans: &[(Place, u32, u32)]) -> bool {
    number < member.joined || spans.iter().all(|&(place, from, to)| member.reported.has(place, from, to))
}
