//! What leaves only when the state that it rests on survives a power cut: frames with the spool that holds them, messages
//! with the sessions that they change.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use securemqtt_core::record::Change;
use securemqtt_core::{Outgoing, Qos};

use crate::mqtt::AckToken;
use crate::state::{Batch, Store, Ticket};

/// A sealed frame on its way.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// Its place in the spool; none if it is not kept, or goes out again.
    pub(super) place: Option<Place>,
}

/// Where in the spool a frame is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) run: [u8; 5],
    pub(super) to: u32,
}

/// What waits.
#[derive(Debug)]
pub(super) enum Held {
    Send(Outgoing),
    Acknowledge(AckToken),
    Frame(Frame),
}

/// The store, with what waits for it, in order.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) store: Store,
    /// Behind changes that are not handed in yet.
    pending: Vec<Held>,
    held: VecDeque<(Ticket, Held)>,
    last: Option<Ticket>,
    frames: usize,
    frame_bytes: usize,
    sends: usize,
}

impl Gate {
    pub(super) fn new(store: Store) -> Self {
        Self { store, pending: Vec::new(), held: VecDeque::new(), last: None, frames: 0, frame_bytes: 0, sends: 0 }
    }

    /// It leaves with the next transaction, or at once where there is none to wait for.
    pub(super) fn hold(&mut self, held: Held) {
        match &held {
            Held::Frame(frame) => {
                self.frames += 1;
                self.frame_bytes += frame.payload.len();
            }
            Held::Send(_) => self.sends += 1,
            Held::Acknowledge(_) => {}
        }
        self.pending.push(held);
    }

    /// Whether a transaction is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.last.is_some_and(|last| !self.store.is_durable(last))
    }

    /// Whether nothing waits, so that what is held next leaves at once.
    pub(super) fn is_open(&self) -> bool {
        self.pending.is_empty() && self.held.is_empty() && !self.is_busy()
    }

    /// Whether messages wait that what is read from the spool must not overtake.
    pub(super) fn has_sends(&self) -> bool {
        self.sends > 0
    }

    /// Frames that wait, and their bytes.
    pub(super) fn frames(&self) -> (usize, usize) {
        (self.frames, self.frame_bytes)
    }

    /// Hands changes in; what is pending waits for them.
    pub(super) fn submit(&mut self, changes: Vec<Change>, clean: Option<bool>) {
        let ticket = self.store.submit(Batch { changes, clean, ..Batch::default() });
        self.last = Some(ticket);
        self.held.extend(self.pending.drain(..).map(|held| (ticket, held)));
    }

    /// There are no changes: what is pending waits for nothing but what went before.
    pub(super) fn pass(&mut self) {
        if let Some(last) = self.last {
            self.held.extend(self.pending.drain(..).map(|held| (last, held)));
        }
    }

    /// The next that may leave.
    pub(super) fn next(&mut self) -> Option<Held> {
        let (ticket, _) = self.held.front()?;
        if !self.store.is_durable(*ticket) {
            return None;
        }
        let (_, held) = self.held.pop_front()?;
        match &held {
            Held::Frame(frame) => {
                self.frames -= 1;
                self.frame_bytes -= frame.payload.len();
            }
            Held::Send(_) => self.sends -= 1,
            Held::Acknowledge(_) => {}
        }
        Some(held)
    }

    /// Waits until everything handed in is durable.
    pub(super) async fn reached(&self) {
        if let Some(last) = self.last {
            self.store.reached(last).await;
        }
    }
}
