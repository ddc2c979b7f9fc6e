//! Frames on their way to the broker: those in memory, those on disk only, and those that it has yet to acknowledge.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use securemqtt_core::Qos;
use securemqtt_core::publisher::{Resend, SpooledFrame};

use super::gate::{Frame, Place};
use crate::mqtt;

/// Bytes of frames in memory; beyond that they wait on disk.
pub(super) const MAX_IN_MEMORY: usize = 1 << 20;
/// Refused frames that are remembered.
const MAX_REFUSED: usize = 64;
/// Frames that are not kept anywhere else.
const MAX_LOOSE: usize = 32;

/// What is to be read from the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A segment whose turn has come.
    Segment(u64),
    /// Frames that somebody lacks.
    Again(Resend),
}

/// The frames on their way, in order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    ready: VecDeque<Frame>,
    ready_bytes: usize,
    /// From this segment on frames are on disk only.
    pub(super) behind: Option<u64>,
    /// What was handed to the link: its ticket and its segment.
    under_way: VecDeque<(mqtt::Ticket, u64)>,
    /// What is to go out again.
    again: VecDeque<Resend>,
    /// Frames that the broker refused: who asks for one again does not get it.
    refused: VecDeque<Bytes>,
}

impl Backlog {
    /// At a start: everything from this segment on.
    pub(super) fn from(behind: Option<u64>) -> Self {
        Self { behind, ..Self::default() }
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.ready_bytes += frame.payload.len();
        self.ready.push_back(frame);
    }

    pub(super) fn front(&self) -> Option<&Frame> {
        self.ready.front()
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.ready.pop_front()?;
        self.ready_bytes -= frame.payload.len();
        Some(frame)
    }

    pub(super) fn bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Whether one more that is kept nowhere else has room.
    pub(super) fn takes_loose(&self) -> bool {
        self.ready.len() < MAX_LOOSE
    }

    /// Nothing waits, in memory or on disk.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.behind.is_none()
    }

    /// Nothing waits for the broker either.
    pub(super) fn is_done(&self) -> bool {
        self.is_empty() && self.under_way.is_empty()
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(super) fn handed_over(&mut self, ticket: mqtt::Ticket, segment: u64) {
        self.under_way.push_back((ticket, segment));
    }

    /// What the broker has acknowledged since: by segment, how many.
    pub(super) fn acknowledged(&mut self, is_acknowledged: impl Fn(mqtt::Ticket) -> bool) -> Vec<(u64, u32)> {
        let mut done: Vec<(u64, u32)> = Vec::new();
        while let Some((ticket, segment)) = self.under_way.front().copied()
            && is_acknowledged(ticket)
        {
            self.under_way.pop_front();
            match done.last_mut() {
                Some((last, frames)) if *last == segment => *frames += 1,
                _ => done.push((segment, 1)),
            }
        }
        done
    }

    /// What went out of the spool is sent no more.
    pub(super) fn forget_below(&mut self, first: u64) {
        while self.ready.front().is_some_and(|frame| frame.place.is_some_and(|place| place.segment < first)) {
            self.pop();
        }
        self.behind = self.behind.map(|behind| behind.max(first));
    }

    pub(super) fn give_up(&mut self, frame: Bytes) {
        if self.refused.len() == MAX_REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(frame);
    }

    pub(super) fn wants_again(&mut self, resends: impl IntoIterator<Item = Resend>) {
        self.again.extend(resends);
    }

    /// What to read from the spool next: what is wanted again goes before what has never been sent, a handful at a time.
    /// `none_held` says that no frames wait for their transaction.
    pub(super) fn next_wanted(&mut self, none_held: bool) -> Option<Wanted> {
        if self.ready_bytes > MAX_IN_MEMORY / 2 {
            return None;
        }
        match self.again.pop_front() {
            Some(resend) => Some(Wanted::Again(resend)),
            // In order: only when everything before is handed over.
            None => self.behind.filter(|_| none_held && self.ready.is_empty()).map(Wanted::Segment),
        }
    }

    /// Takes the frames that were read.
    pub(super) fn read(&mut self, wanted: Wanted, frames: &[SpooledFrame<'_>]) {
        let mut topic: Arc<str> = Arc::from("");
        for frame in frames {
            let place = match wanted {
                Wanted::Segment(segment) => Some(Place { segment, run: frame.run, to: frame.to }),
                Wanted::Again(resend) => {
                    if !resend.wants(frame) || self.refused.iter().any(|refused| *refused == frame.frame) {
                        continue;
                    }
                    None
                }
            };
            if *topic != *frame.topic {
                topic = Arc::from(frame.topic);
            }
            // It must arrive this time.
            let qos = if place.is_none() { Qos::AtLeastOnce } else { frame.qos };
            let payload = Bytes::copy_from_slice(frame.frame);
            self.push(Frame {
                topic: Arc::clone(&topic),
                payload,
                qos,
                retain: frame.retain && place.is_some(),
                place,
            });
        }
        if let Wanted::Segment(segment) = wanted {
            self.behind = Some(segment + 1);
        }
    }
}
