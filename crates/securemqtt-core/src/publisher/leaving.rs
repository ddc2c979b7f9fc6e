//! What leaves the spool: what all subscribers have, and, where it is full, what somebody lacks, who is told of it.

use std::collections::BTreeMap;

use super::member::Member;
use super::reports::Unreported;
use super::spool::{Gone, Place};
use super::{Event, Output, Publisher};
use crate::peers::PeerName;

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
}

/// Whether a member has reported all of a segment, or was not there yet when it was sealed.
fn settled(member: &Member, number: u64, spans: &[(Place, u32, u32)]) -> bool {
    number < member.joined || spans.iter().all(|&(place, from, to)| member.reported.has(place, from, to))
}
