//! The readings of a message become records, in the order in which they came.

use std::sync::Arc;

use securemqtt_client::subscriber::{Arrival, Reading};
use securemqtt_core::identity::{Fingerprint, PeerId};

use super::{App, End};
use crate::output::Record;

impl App {
    /// Puts out the readings of a message; with the last one that was asked for comes the end.
    pub(super) fn put_out(&mut self, arrival: Arrival) -> Option<End> {
        let decrypt = arrival.decrypt_time();
        let Arrival { at, readings, ack, .. } = arrival;
        let mut left = readings.len();
        for Reading { delivery, qos, retain, redelivered } in readings {
            left -= 1;
            let (publisher, fingerprint) = self.publisher(delivery.publisher);
            let record = Record {
                arrived: at,
                topic: delivery.topic,
                qos,
                retain,
                publisher,
                fingerprint,
                stream: delivery.stream,
                seq: delivery.seq,
                decrypt,
                // A file is cut back to what was stored: nothing in it comes twice.
                redelivered: redelivered && self.readings.out.is_none(),
                payload: delivery.payload,
            };
            if !self.selection.takes(&record) {
                continue;
            }
            self.output.write(&record);
            self.shown += 1;
            if self.readings.count == Some(self.shown) {
                if left > 0 {
                    return Some(End::CountWithin);
                }
                self.uncommitted.extend(ack);
                return Some(End::Count);
            }
        }
        self.uncommitted.extend(ack);
        None
    }

    pub(super) fn publisher(&mut self, id: PeerId) -> (Arc<str>, Fingerprint) {
        if let Some(known) = self.names.get(&id) {
            return known.clone();
        }
        let known = self.subscriber.engine().publisher(id);
        let known = known.map(|(name, fingerprint)| (Arc::from(name.as_str()), fingerprint));
        // A publisher is forgotten only between its last reading and this line.
        let known = known.unwrap_or_else(|| (id.to_string().into(), self.fingerprint));
        self.names.insert(id, known.clone());
        known
    }
}
