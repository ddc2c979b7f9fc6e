//! The subscribers that a publisher remembers, by id. Bounded for strangers.

use std::collections::{HashMap, HashSet};

use super::member::{Active, Member};
use crate::identity::{IdentityPublic, PeerId};
use crate::record::{Change, Table};
use crate::wire::WireError;

/// Strangers that are remembered.
pub(super) const MAX_STRANGERS: usize = 256;

/// All subscribers, by id.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: HashMap<PeerId, Member>,
    clock: u64,
    /// Members with a record on disk.
    stored: HashSet<PeerId>,
    /// Strangers that gave way.
    evicted: Vec<PeerId>,
}

impl Roster {
    pub(super) fn get(&self, id: PeerId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PeerId, &mut Member)> {
        self.members.iter_mut()
    }

    /// The members with a confirmed session.
    pub(super) fn active(&self) -> impl Iterator<Item = (PeerId, &Member, &Active)> {
        self.members.iter().filter_map(|(id, member)| member.active.as_ref().map(|active| (*id, member, active)))
    }

    /// The members that hold the stream: with a session, or with a GRANT that they have not confirmed.
    pub(super) fn granted(&self) -> impl Iterator<Item = (PeerId, &Member)> {
        self.members.iter().filter(|(_, member)| member.holds_stream()).map(|(id, member)| (*id, member))
    }

    /// The member whose active or pending session this is.
    pub(super) fn by_session(&self, sid: [u8; 8]) -> Option<PeerId> {
        let holds = |member: &Member| {
            member.active.as_ref().is_some_and(|active| active.sid == sid) || member.pending(sid).is_some()
        };
        self.members.iter().find(|(_, member)| holds(member)).map(|(id, _)| *id)
    }

    /// Adds a member if it is new; a stranger may push out the stranger that was silent for longest.
    pub(super) fn admit(&mut self, member: Member, is_pinned: impl Fn(&IdentityPublic) -> bool) -> &mut Member {
        let id = member.key.id();
        self.clock += 1;
        if !self.members.contains_key(&id) && !is_pinned(&member.key) {
            let strangers: Vec<(PeerId, u64)> = self
                .members
                .iter()
                .filter(|(_, other)| other.active.is_none() && !is_pinned(&other.key))
                .map(|(id, other)| (*id, other.seen))
                .collect();
            if strangers.len() >= MAX_STRANGERS {
                let oldest = strangers.iter().min_by_key(|(_, seen)| *seen);
                if let Some((id, _)) = oldest {
                    self.members.remove(id);
                    self.evicted.push(*id);
                }
            }
        }
        let clock = self.clock;
        let member = self.members.entry(id).or_insert(member);
        member.seen = clock;
        member
    }

    /// The records of these members and of those that gave way; nothing where there is to be none.
    pub(super) fn changes(
        &mut self,
        ids: impl IntoIterator<Item = PeerId>,
        is_pinned: impl Fn(&IdentityPublic) -> bool,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for id in ids.into_iter().chain(std::mem::take(&mut self.evicted)) {
            let member = self.members.get(&id).filter(|member| member.is_kept(is_pinned(&member.key)));
            let value = member.map(Member::encode);
            let was_there = if value.is_some() { !self.stored.insert(id) } else { self.stored.remove(&id) };
            if value.is_some() || was_there {
                changes.push(Change { table: Table::Member, key: id.as_bytes().to_vec(), value });
            }
        }
        changes
    }

    /// Takes up a record.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let member = Member::decode(bytes)?;
        let id = member.key.id();
        self.stored.insert(id);
        self.members.insert(id, member);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}
