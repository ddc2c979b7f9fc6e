//! What wakes the subscriber: the connection with its messages, and what is due by the clock.

use std::time::Instant;

use securemqtt_core::peers::KnownPeers;
use securemqtt_core::subscriber::LOOK_AHEAD;
use securemqtt_core::topic::CONTROL_PREFIX;

use super::Subscriber;
use crate::clock::Moment;
use crate::error::ClientError;
use crate::mqtt::{LinkError, LinkEvent};
use crate::notice::{Notice, Trouble};
use crate::pump::Wake;
use crate::state::StateError;

/// Events at hand that one reading of the clocks serves.
const MAX_AT_ONCE: u32 = 64;

impl Subscriber {
    pub(super) fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => {
                let moment = self.moment();
                self.tend(moment);
                self.store_committed();
            }
            Wake::Idle => return Ok(()),
            Wake::Ended => return Err(LinkError::closed().into()),
            Wake::Event(LinkEvent::Failed(error)) => return Err(error.into()),
            Wake::Event(LinkEvent::Connected { .. }) => {
                self.first_connected.get_or_insert_with(Instant::now);
                let filters = self.engine.filters();
                self.engine.connected(self.clock.now(), &mut self.rng);
                self.tell(Notice::Connected);
                self.subscribe(filters)?;
            }
            Wake::Event(LinkEvent::Subscribed { filters }) => {
                if filters.iter().any(|filter| !filter.starts_with(CONTROL_PREFIX)) {
                    self.tell(Notice::Listening);
                }
            }
            Wake::Event(LinkEvent::Message(message)) => return self.arrive(&message),
            Wake::Event(other) => {
                if let Some(trouble) = Trouble::of(other) {
                    self.tell(Notice::Trouble(trouble));
                }
            }
        }
        self.settle()
    }

    /// Before the first of some messages that have come together is taken, the engine looks at all of them.
    pub(super) fn look_ahead(&mut self) {
        if self.looked_at == 0 {
            let some = self.pump.at_hand().iter().take(LOOK_AHEAD);
            self.looked_at = some.len();
            self.engine.look_ahead(some.map(|message| &*message.payload));
        }
        self.looked_at = self.looked_at.saturating_sub(1);
    }

    /// What is due by the clock. Called for every message too: under load there is always another one, and what is due
    /// must not wait for a pause. It costs two comparisons while nothing is due.
    pub(super) fn tend(&mut self, moment: Moment) {
        if self.peers.is_due(moment.instant) {
            // Somebody may have edited it, to revoke a peer for example.
            let loaded = self.peers.load_if_changed();
            self.take_known(loaded);
        }
        self.engine.poll(moment.now, &mut self.rng, &mut self.out);
    }

    pub(super) fn take_known(&mut self, loaded: Result<Option<KnownPeers>, StateError>) {
        match loaded {
            Ok(Some(known)) => self.engine.set_known(known),
            Ok(None) => {}
            Err(error) => self.tell(Notice::Trouble(Trouble::NotReloaded { why: error.to_string() })),
        }
    }

    /// One reading of the clocks for the events at hand.
    pub(super) fn moment(&mut self) -> Moment {
        if self.moment_left == 0 {
            (self.moment, self.moment_left) = (self.clock.read(), MAX_AT_ONCE);
        }
        self.moment_left -= 1;
        self.moment
    }
}
