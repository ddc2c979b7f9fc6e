//! What is due, and when: a challenge, a generation, a rotation, a tick, frames that are wanted again.

use rand_core::CryptoRng;

use super::{Config, Output, Publisher};
use crate::{Now, Qos};

/// Between ticks while reports of everything are awaited.
const CONFIRM_TICK_MS: u64 = 1_000;
/// Between two handfuls of frames that are sent again.
const REPAIR_MS: u64 = 20;

/// When the next of each is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) challenge: u64,
    pub(super) tick: u64,
    pub(super) ratchet: u64,
    pub(super) rotate: u64,
}

impl Due {
    /// Each after its interval.
    pub(super) fn from(now: Now, config: &Config) -> Self {
        let at = now.mono_ms;
        Self {
            challenge: at + config.challenge_ms,
            tick: at + config.tick_ms,
            ratchet: at + config.ratchet_ms,
            rotate: at + config.rotate_ms,
        }
    }
}

impl Publisher {
    /// When [`Publisher::poll`] is next due, on the monotonic clock.
    pub fn next_poll_ms(&self) -> u64 {
        let generation_full = self.sealer.frames_in_generation() >= self.config.ratchet_frames;
        if generation_full || self.sealer.tick_is_due() || self.sealer.is_exhausting() && self.rotation.is_none() {
            return 0;
        }
        if !self.repair.is_idle() {
            return self.repair_ms;
        }
        let due = self.due.challenge.min(self.due.tick).min(self.due.ratchet).min(self.due.rotate);
        self.rotation.as_ref().map_or(due, |rotation| due.min(rotation.deadline_ms))
    }

    /// Does what is due: a challenge, a generation, a rotation, a tick.
    pub fn poll<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        if now.mono_ms >= self.due.challenge {
            self.renew_challenge(now, rng, out);
        }
        let generation_full = self.sealer.frames_in_generation() >= self.config.ratchet_frames;
        if now.mono_ms >= self.due.ratchet || generation_full {
            self.due.ratchet = now.mono_ms + self.config.ratchet_ms;
            if self.step() {
                self.epoch.stepped_ms = now.unix_ms;
            } else {
                self.rotate(now, rng, out);
            }
        }
        if now.mono_ms >= self.due.rotate || self.sealer.is_exhausting() && self.rotation.is_none() {
            self.rotate(now, rng, out);
        }
        if self.rotation.as_ref().is_some_and(|rotation| rotation.is_over(now)) {
            self.switch(now, rng, out);
        }
        if now.mono_ms >= self.due.tick || self.sealer.tick_is_due() {
            let pause = if self.confirming { CONFIRM_TICK_MS } else { u64::MAX };
            self.due.tick = now.mono_ms + self.config.tick_ms.min(pause);
            // Whoever held it up may have gone.
            self.held_up = None;
            out.send.push(self.hello_message(Qos::AtMostOnce));
            self.tick(now, Qos::AtMostOnce, true, false, out);
            self.tell_losses(out);
        }
        if !self.repair.is_idle() && now.mono_ms >= self.repair_ms {
            self.repair_ms = now.mono_ms + REPAIR_MS;
            out.resend.extend(self.repair.next(&self.spool, now.mono_ms));
        }
        self.forget_stream_before(now);
    }

    /// Steps the ratchet, durably before the next frame; false at the last generation.
    pub(super) fn step(&mut self) -> bool {
        self.dirty.own = true;
        self.sealer.step()
    }
}
