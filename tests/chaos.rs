//! Readings in, readings out, and in between everything is killed, stopped, restarted and cut off at random.
//!
//!     cargo test --test chaos                                           the short form, some two minutes
//!     SECUREMQTT_CHAOS_KILLS=1000 cargo test --test chaos -- --nocapture --test-threads 1     the long form
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `SECUREMQTT_CHAOS_SEED` | what happens when and to whom; it is printed at the start | the clock |
//! | `SECUREMQTT_CHAOS_KILLS` | go on until so many were killed in each setting | no aim |
//! | `SECUREMQTT_CHAOS_SECONDS` | and no longer than this | 20; 3600 with an aim |
//! | `SECUREMQTT_CHAOS_VICTIMS` | `all`, or some of `subscriber,publisher,broker,network` | `all` |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test is a panic")]
#![allow(dead_code, unused_imports, reason = "the harness offers more verbs than one subject needs")]

/// A Mosquitto of its own for each test.
mod broker;
/// Publishers and subscribers with an identity each.
mod parties;
/// The real programs as child processes.
mod process;
/// A private certificate authority; the broker's set-up knows it.
mod tls;

mod chaos {
    /// What went in is compared with what came out.
    mod account;
    /// The publishers and subscribers that it happens to.
    mod actors;
    /// Starts all of them, lets it happen, and waits for the dust to settle.
    mod driver;
    /// The numbered lines that a publisher is given.
    mod feeder;
    /// What happens when and to whom: everything that the seed decides.
    mod plan;
    /// The network between a program and the broker.
    mod proxy;
    /// The three settings of the broker.
    mod settings;
}
