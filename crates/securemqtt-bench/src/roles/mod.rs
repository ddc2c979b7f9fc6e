//! The processes that are measured, each in a role of its own: what happens behind `securemqtt-bench role JOB`.

mod control;
mod fleet;
mod pace;
mod plain;
mod publisher;
mod reading;
mod subscriber;
mod tally;

pub(crate) use reading::{Readings, now_ns, number, published_ns};
pub(crate) use tally::wait_for;

use tokio::runtime::Builder;

use crate::job::{Job, Said};
use crate::outcome::Outcome;

/// Threads of a fleet. Everybody else, ours or the yardstick, has one, as the programs have.
const THREADS: usize = 2;

/// Plays a role until stdin ends, or it fails.
///
/// # Errors
/// If the job does not parse, or the role cannot go on.
pub(crate) fn play(job: &str) -> Outcome<()> {
    let played = start(job);
    if let Err(why) = &played {
        control::say(&Said::Failed { why: why.to_string() })?;
    }
    played
}

fn start(job: &str) -> Outcome<()> {
    let job: Job = serde_json::from_str(job)?;
    let runtime = match job {
        Job::Fleet { .. } => Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?,
        _ => Builder::new_current_thread().enable_all().build()?,
    };
    let played = async {
        match job {
            Job::PlainPublisher { site, load } => plain::publish(&site, &load).await,
            Job::PlainSubscriber { site, topic, qos, timed } => plain::subscribe(&site, topic, qos, timed).await,
            Job::Publisher { site, state, load, spool, subscribers } => {
                publisher::publish(&site, state, &load, spool, subscribers).await
            }
            Job::Subscribers { site, states, filter, qos, timed } => {
                subscriber::subscribe(&site, states, &filter, qos, timed).await
            }
            Job::Fleet { site, publishers, connections, subscriber, known_peers } => {
                fleet::sail(&site, publishers, connections, &subscriber, &known_peers).await
            }
        }
    };
    // A task, as the programs' main loops are.
    runtime.block_on(async { tokio::spawn(played).await })?
}
