//! Connections that the broker ends again and again: whether another client is why, or a publish that it cannot bear.

use std::time::Duration;

use super::Driver;
use crate::mqtt::error::LinkError;
use crate::mqtt::outbox::Publish;

/// A connection that was closed so soon was closed *at once*. A network that comes and goes takes longer over it.
const AT_ONCE: Duration = Duration::from_secs(1);
/// This many connections in a row, each accepted and at once closed without a word, are no accident.
const SILENT_CLOSES: u32 = 6;

/// After so many of them publishes go one at a time, and after so many more the one under way is given up.
const CAREFUL_AFTER: u32 = 2;
const CONVICTED_AFTER: u32 = 3;

impl Driver {
    /// Which publish was too large the broker does not say; sent again, it would end every connection.
    pub(super) fn give_up_largest(&mut self) {
        if let Some(publish) = self.outbox.take_largest() {
            let size = Publish::packet_size(&publish.topic, publish.payload.len());
            self.refused(publish, format!("its packet of {size} bytes is too large for it; publish less at once"));
        }
    }

    /// Sees the pattern in connections that are accepted and at once closed. One that lasted longer breaks it; an attempt
    /// that got nowhere says nothing of it.
    pub(super) fn judge(&mut self, error: LinkError, lasted: Option<Duration>) -> LinkError {
        let Some(lasted) = lasted else {
            return if error.is_silent_close() { LinkError::closed_unaccepted(&self.options) } else { error };
        };
        self.silent_closes = if error.is_silent_close() && lasted < AT_ONCE { self.silent_closes + 1 } else { 0 };
        if self.silent_closes >= SILENT_CLOSES {
            return LinkError::closed_again_and_again(&self.options, self.silent_closes);
        }
        error
    }

    /// After a few silent closes publishes go one at a time, to find the one that the broker cannot bear: it must not stop
    /// all others.
    pub(in crate::mqtt) fn is_careful(&self) -> bool {
        self.silent_closes >= CAREFUL_AFTER
    }

    /// Gives up the publish that was alone under way at so many silent closes in a row.
    pub(super) fn suspect(&mut self, only: Option<u64>) {
        let Some(ticket) = only.filter(|_| self.silent_closes > CAREFUL_AFTER) else {
            self.suspect = None;
            return;
        };
        let before = self.suspect.filter(|(suspect, _)| *suspect == ticket).map_or(0, |(_, closes)| closes);
        self.suspect = Some((ticket, before + 1));
        if before + 1 < CONVICTED_AFTER {
            return;
        }
        if let Some(publish) = self.outbox.take_largest() {
            self.refused(publish, format!("it closed the connection {CONVICTED_AFTER} times over this message"));
        }
        (self.suspect, self.silent_closes) = (None, 0);
    }
}
