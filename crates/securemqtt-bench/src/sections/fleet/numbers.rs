//! What one voyage of a fleet gave, and what follows from it.

use crate::stats::count;

/// What comes with the first publisher and stays (the database's cache and the like, about a mebibyte) is ten KiB a publisher
/// in a fleet of a hundred, and one in a fleet of a thousand.
const ENOUGH: usize = 1_000;

/// What one voyage gave. Times are the subscriber's processor time where they are not of a clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Voyage {
    /// How many.
    pub publishers: usize,
    /// How many have a session.
    pub keyed: usize,
    /// Seconds until all had one.
    pub keyed_s: f64,
    /// Of a handshake.
    pub handshake_us: f64,
    /// The fleet's part of it.
    pub fleet_handshake_us: f64,
    /// Resident, without any publisher; with all keyed; after readings and their ticks.
    pub idle_kib: f64,
    /// See `idle_kib`.
    pub keyed_total_kib: f64,
    /// See `idle_kib`.
    pub used_total_kib: f64,
    /// Of a tick with its hello that tells nothing new.
    pub heartbeat_us: f64,
    /// Of a tick with its hello after a reading: its digest is compared.
    pub tick_us: f64,
    /// Of a topic's first reading.
    pub first_reading_us: f64,
    /// Of a reading.
    pub reading_us: f64,
    /// Of the same message that is received by plaintext rumqttc, which opens nothing.
    pub plain_us: f64,
    /// Why that is not known; it is no number then.
    pub not_plain: Option<String>,
    /// Seconds from the broker's start to the last reading, sent again perhaps.
    pub back_s: f64,
    /// Of a publisher's return.
    pub back_us: f64,
    /// Readings that came after the restart.
    pub back_came: f64,
    /// Why nothing is known of the restart; its numbers are none then.
    pub not_back: Option<String>,
}

impl Voyage {
    fn each(&self, total_kib: f64) -> Option<f64> {
        (self.publishers >= ENOUGH).then(|| (total_kib - self.idle_kib) / count(self.publishers))
    }

    /// Memory a publisher when all are keyed; none where there are too few to tell.
    pub(super) fn keyed_kib(&self) -> Option<f64> {
        self.each(self.keyed_total_kib)
    }

    /// The same after readings.
    pub(super) fn used_kib(&self) -> Option<f64> {
        self.each(self.used_total_kib)
    }

    /// What there is to be said where not every publisher's reading came after the restart, or one came twice.
    pub(super) fn lost(&self) -> Option<String> {
        let all = count(self.publishers);
        // Not a number where nothing is known of it.
        ((self.back_came - all).abs() > 0.5).then(|| format!("{} of {all} readings came", self.back_came))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_only_of_fleets_that_are_large_enough() {
        let fleet = Voyage { publishers: 1_000, idle_kib: 6_000.0, keyed_total_kib: 9_000.0, ..Voyage::default() };
        assert_eq!(fleet.keyed_kib(), Some(3.0));
        assert_eq!(Voyage { publishers: 10, ..fleet }.keyed_kib(), None);
    }

    #[test]
    fn readings_that_did_not_come_are_told_and_a_restart_that_failed_tells_why_itself() {
        let fleet = Voyage { publishers: 10_000, back_came: 10_000.0, ..Voyage::default() };
        assert_eq!(fleet.lost(), None);
        assert_eq!(Voyage { back_came: f64::NAN, ..fleet.clone() }.lost(), None);
        let lost = Voyage { back_came: 8_836.0, ..fleet }.lost();
        assert_eq!(lost.as_deref(), Some("8836 of 10000 readings came"));
    }
}
