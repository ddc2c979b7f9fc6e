//! What wakes the publisher: the connection with its messages, and what is due by the clock.

use std::time::Instant;

use securemqtt_core::peers::KnownPeers;
use securemqtt_core::{Now, Qos};

use super::Publisher;
use super::gate::Held;
use crate::error::ClientError;
use crate::mqtt::{LinkError, LinkEvent};
use crate::notice::{Notice, Trouble};
use crate::pump::Wake;
use crate::state::StateError;

impl Publisher {
    pub(super) fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => self.poll(),
            Wake::Idle => return Ok(()),
            Wake::Ended => return Err(LinkError::closed().into()),
            Wake::Event(LinkEvent::Failed(error)) => return Err(error.into()),
            Wake::Event(LinkEvent::Connected { .. }) => {
                self.pump.subscribe(self.engine.filters(), Qos::AtLeastOnce)?;
                self.engine.connected(self.clock.now(), &mut self.out);
                self.notices.push_back(Notice::Connected);
            }
            Wake::Event(LinkEvent::Message(message)) => {
                let now = self.clock.now();
                self.engine.handle(&message.topic, &message.payload, now, &mut self.rng, &mut self.out);
                self.settle_with(Some(Held::Acknowledge(message.ack)));
                if self.watches.is_some() {
                    self.notices.push_back(Notice::Moved);
                }
                return Ok(());
            }
            Wake::Event(other) => {
                if let LinkEvent::PublishRefused { payload, .. } = &other {
                    self.backlog.give_up(payload.clone());
                }
                self.notices.extend(Trouble::of(other).map(Notice::Trouble));
            }
        }
        self.settle();
        Ok(())
    }

    pub(super) fn poll(&mut self) {
        let now = self.clock.now();
        if self.peers.is_due(Instant::now()) {
            // Somebody may have edited it, to revoke a peer for example.
            let loaded = self.peers.load_if_changed();
            self.take_known(loaded, now);
        }
        self.engine.poll(now, &mut self.rng, &mut self.out);
        self.settle();
        if !self.gate.is_busy() && self.engine.has_later_changes() {
            self.store_changes();
        }
    }

    pub(super) fn take_known(&mut self, loaded: Result<Option<KnownPeers>, StateError>, now: Now) {
        match loaded {
            Ok(Some(known)) => self.engine.set_known(known, now, &mut self.rng, &mut self.out),
            Ok(None) => {}
            Err(error) => {
                self.notices.push_back(Notice::Trouble(Trouble::NotReloaded { why: error.to_string() }));
            }
        }
    }
}
