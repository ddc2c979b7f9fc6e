//! What a broker cannot do, why, and how that shows. Everything that does not stand here must hold everywhere.

use super::connack::Mqtt;

/// One step that fails at a broker, and how.
pub(super) struct Quirk {
    pub(super) broker: &'static str,
    pub(super) mqtt: Mqtt,
    pub(super) step: &'static str,
    pub(super) why: &'static str,
    /// What a program says instead.
    pub(super) says: &'static str,
}

pub(super) const QUIRKS: [Quirk; 0] = [];
