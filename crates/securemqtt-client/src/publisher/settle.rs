//! What the engine leaves is passed on: stored first, then sent.

use std::time::Instant;

use securemqtt_core::publisher::Event;

use super::Publisher;
use super::gate::Held;
use crate::notice::{Notice, Trouble, remember};
use crate::state::StoreEvent;

/// So many bytes that are sealed and not stored are a transaction of their own.
const MUCH_UNSTORED: usize = 128 << 10;

impl Publisher {
    pub(super) fn stored(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Durable(_) => {}
            StoreEvent::Stuck { why } => self.notices.push_back(Notice::Trouble(Trouble::NotStored { why })),
            StoreEvent::Recovered => self.notices.push_back(Notice::Trouble(Trouble::StoredAgain)),
        }
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        self.settle_with(None);
    }

    /// Passes on what the engine has left: messages and acknowledgements behind what they rest on.
    pub(super) fn settle_with(&mut self, acknowledge: Option<Held>) {
        for message in self.out.send.drain(..) {
            self.gate.hold(Held::Send(message));
        }
        if let Some(held) = acknowledge {
            self.gate.hold(held);
        }
        self.backlog.wants_again(self.out.resend.drain(..));
        for event in std::mem::take(&mut self.out.events) {
            if let Event::NewPeer { name, key } = &event {
                self.notices.extend(remember(&mut self.peers, name, key).map(Notice::Trouble));
            }
            self.notices.push_back(Notice::Event(event));
        }
        self.commit();
    }

    /// One transaction at a time, and not too many: what comes meanwhile goes into the next.
    pub(super) fn commit(&mut self) {
        if let Some(at) = self.store_at() {
            if at <= Instant::now() || self.engine.unstored() >= MUCH_UNSTORED {
                self.store_changes();
            }
        } else if !self.gate.is_busy() {
            self.gate.pass();
        }
        while let Some(held) = self.gate.next() {
            self.leave(held);
        }
    }

    /// When what has changed is handed in; none where nothing has, or a transaction is under way: its end is an event.
    pub(super) fn store_at(&self) -> Option<Instant> {
        (!self.gate.is_busy() && self.engine.has_changes()).then(|| self.gate.store.next_at())
    }

    pub(super) fn store_changes(&mut self) {
        self.gate.submit(self.engine.take_changes(), None);
    }

    pub(super) fn leave(&mut self, held: Held) {
        match held {
            Held::Send(message) => self.pump.send([message]),
            Held::Acknowledge(ack) => self.pump.link.ack(ack),
            Held::Frame(frame) => self.backlog.push(frame),
        }
    }
}
