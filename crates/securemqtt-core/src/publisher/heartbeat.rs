//! Hellos and ticks: what a publisher says of itself, unasked.

use rand_core::CryptoRng;

use super::hello::OwnHello;
use super::sealer::{Reach, TickKind};
use super::{Output, Publisher, keys_message};
use crate::topic::Control;
use crate::{Now, Outgoing, Qos};

/// Ticks that name older runs at one time.
const MAX_TICKS: usize = 32;

impl Publisher {
    /// The connection is up, again perhaps: hello, keys and a tick, which opens the run.
    pub fn connected(&mut self, now: Now, out: &mut Output) {
        out.send.push(self.hello_message(Qos::AtLeastOnce));
        out.send.append(&mut self.farewells);
        let keys: Vec<Outgoing> = self
            .roster
            .active()
            .filter(|(_, _, active)| !active.chain.is_settled())
            .map(|(id, _, active)| keys_message(self.id, id, active.chain.keys()))
            .collect();
        out.send.extend(keys);
        self.tick(now, Qos::AtLeastOnce, false, false, out);
    }

    /// The last tick of the run, before a clean disconnect.
    pub fn finish(&mut self, now: Now, out: &mut Output) {
        self.is_exact = true;
        self.dirty.run = true;
        self.tell_losses(out);
        self.tick(now, Qos::AtLeastOnce, true, true, out);
    }

    pub(super) fn renew_challenge<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        self.due.challenge = now.mono_ms + self.config.challenge_ms;
        self.challenge_unix_ms = now.unix_ms;
        self.dirty.own = true;
        let hello = OwnHello::make(&self.identity, &self.config, rng);
        self.previous_hello = Some(std::mem::replace(&mut self.hello, hello));
        out.send.push(self.hello_message(Qos::AtLeastOnce));
    }

    pub(super) fn hello_message(&self, qos: Qos) -> Outgoing {
        Outgoing { topic: Control::Hello.topic(self.id), payload: self.hello.bytes.clone(), qos, retain: true }
    }

    /// One tick, or several where the topics or the older runs do not fit in one.
    pub(super) fn tick(&mut self, now: Now, qos: Qos, timed: bool, last: bool, out: &mut Output) {
        self.last_tick_ms = now.mono_ms;
        let asks = self.asks();
        // What is not sent yet is announced by the tick after it, or by the last one: the next start sends it.
        let reach = if last { Reach::Sealed } else { Reach::Released };
        let turns = if qos == Qos::AtLeastOnce { self.past.ticks().min(MAX_TICKS) } else { 1 };
        let mut waiting = usize::MAX;
        for turn in 0.. {
            let left = self.sealer.unannounced_topics(reach);
            // A topic too long to be named beside the older runs goes without them.
            let older =
                if turn < turns && left < waiting { self.past.named(&self.spool, self.released) } else { Vec::new() };
            let spool = &self.spool;
            let made = self.sealer.tick(&older, now.unix_ms, TickKind { asks, last, reach }, |run, position| {
                spool.index().first_kept(run, position)
            });
            let Ok(payload) = made else { return };
            out.send.push(Outgoing { topic: Control::Tick.topic(self.id), payload, qos, retain: true });
            let left = self.sealer.unannounced_topics(reach);
            if turn + 1 >= turns && (left == 0 || left >= waiting && older.is_empty()) {
                break;
            }
            waiting = left;
        }
        if asks {
            self.note_asking();
        }
        if timed {
            self.sealer.move_marks(reach);
        }
    }
}
