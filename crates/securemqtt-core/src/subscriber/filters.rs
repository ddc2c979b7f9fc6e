//! What a subscriber subscribes to: the readings that are wanted, and the control topics of the publishers it knows.

use super::{Output, Subscriber};
use crate::identity::PeerId;
use crate::topic::{CONTROL_PREFIX, Control, filter_matches};

/// Above this many peers, control topics are subscribed with wildcards.
pub(super) const MAX_EXACT_PEERS: usize = 100;

impl Subscriber {
    /// All control filters, to subscribe to after every CONNACK; the readings' filters come with them.
    pub fn filters(&mut self) -> Vec<String> {
        self.wildcards = self.peers.len() > MAX_EXACT_PEERS;
        let mut filters = vec![format!("{CONTROL_PREFIX}+/hello")];
        if self.wildcards {
            filters.extend(self.wildcard_filters());
        } else {
            let known: Vec<PeerId> = self.trust.known().iter().map(|peer| peer.key.id()).collect();
            if known.len() <= MAX_EXACT_PEERS {
                filters.extend(known.iter().map(|id| Control::Hello.topic(*id)));
            }
            filters.extend(self.peers.keys().flat_map(|id| self.exact_filters(*id)));
        }
        filters.extend(self.config.filters.iter().cloned());
        filters
    }

    fn wildcard_filters(&self) -> [String; 3] {
        let id = self.id;
        ["tick".to_owned(), format!("to/{id}"), format!("keys/{id}")].map(|end| format!("{CONTROL_PREFIX}+/{end}"))
    }

    fn exact_filters(&self, publisher: PeerId) -> [String; 3] {
        [Control::To(self.id), Control::Keys(self.id), Control::Tick].map(|control| control.topic(publisher))
    }

    /// The filters that a new publisher needs.
    pub(super) fn subscribe_to(&mut self, publisher: PeerId, out: &mut Output) {
        if self.wildcards {
            return;
        }
        if self.peers.len() > MAX_EXACT_PEERS {
            self.wildcards = true;
            out.subscribe.extend(self.wildcard_filters());
        } else {
            out.subscribe.extend(self.exact_filters(publisher));
        }
    }

    /// Whether readings of a topic are wanted.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.config.filters.iter().any(|filter| filter_matches(filter, topic))
            && !self.config.exclude.iter().any(|filter| filter_matches(filter, topic))
    }
}
