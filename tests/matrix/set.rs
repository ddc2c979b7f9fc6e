//! What is asked of every broker, step by step: the same for all of them.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::cast::{Cast, PATIENCE};
use super::server::Server;
use super::stage::Stage;
use crate::parties::{EXCHANGED, KEPT};

/// What a publisher logs when it has changed the stream.
const ROTATED: &str = "a new stream has begun";

/// A sign of trouble, if nobody made any.
pub(super) const TROUBLE: [&str; 9] = [
    "error",
    "panicked",
    "trying again",
    "forged",
    "missing",
    "lost",
    "the broker refuses",
    "refuses us",
    "key has changed",
];

/// One question to a broker.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) run: fn(&mut Server, &Arc<Stage>),
    /// What a program may say in it, although it is a sign of trouble elsewhere.
    pub(super) may_say: &'static [&'static str],
}

pub(super) const PAST_ITS_QUEUE: &str = "past its queue";
pub(super) const DOT: &str = "a dot in a topic";
pub(super) const LARGE: &str = "200 kB";

/// In this order; each with new identities.
pub(super) const SET: [Step; 9] = [
    Step { name: "in order", run: a_hundred_readings_in_order, may_say: &[] },
    Step { name: "subscriber restarts", run: a_subscriber_that_restarts, may_say: &[] },
    Step { name: "publisher restarts", run: a_publisher_that_restarts, may_say: &[] },
    Step { name: "revoked", run: a_subscriber_that_is_revoked, may_say: &["refuses us: revoked"] },
    Step { name: "rotation", run: a_stream_that_changes, may_say: &[] },
    Step { name: "kill -9", run: a_broker_that_is_killed, may_say: &["trying again", "missing"] },
    Step { name: PAST_ITS_QUEUE, run: a_subscriber_that_was_away_for_too_long, may_say: &["missing"] },
    Step { name: LARGE, run: a_large_reading, may_say: &[] },
    Step { name: DOT, run: a_topic_with_a_dot, may_say: &[] },
];

fn a_hundred_readings_in_order(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(100);
    cast.arrives();
    cast.ends_in_order();
}

fn a_subscriber_that_restarts(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(10);
    cast.arrives();
    assert_eq!(cast.station.end(), 0);
    cast.publish(50);
    cast.is_published();
    cast.station.start(server);
    cast.station.wait_for(KEPT);
    cast.arrives();
    assert_eq!(cast.publisher.has_said(EXCHANGED), 2, "one handshake for each subscriber");
    cast.ends_in_order();
}

fn a_publisher_that_restarts(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(10);
    cast.arrives();
    assert_eq!(cast.publisher.end(), 0);
    cast.publisher.start(server);
    cast.publisher.wait_for(KEPT);
    cast.publish(50);
    cast.arrives();
    assert_eq!(cast.publisher.has_said(EXCHANGED), 0, "the sessions are those from before");
    assert_eq!(cast.publisher.has_said(ROTATED), 0, "and so is the stream");
    cast.ends_in_order();
}

fn a_subscriber_that_is_revoked(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(10);
    cast.arrives();
    let revoked = cast.station.lines();
    cast.publisher.party.command(&["peers", "revoke", &cast.station.party.name]);
    cast.station.wait_for("refuses us: revoked");
    cast.publisher.wait_for(ROTATED);
    cast.publish(10);
    cast.is_published();
    // It has had from the broker what the other has had.
    cast.publish(1);
    cast.is_published();
    assert_eq!(cast.station.lines(), revoked, "it reads nothing more");
    cast.publisher.end();
    cast.station.end();
    assert_eq!(cast.station.lines(), revoked, "to its end");
}

fn a_stream_that_changes(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    for change in 1..=2 {
        // Under way while it changes.
        cast.publish(200);
        cast.publisher.party.command(&["rotate"]);
        let deadline = Instant::now() + PATIENCE;
        while cast.publisher.has_said(ROTATED) < change {
            assert!(Instant::now() < deadline, "the stream does not change");
            cast.publish(1);
            thread::sleep(Duration::from_millis(5));
        }
    }
    cast.arrives();
    cast.ends_in_order();
}

fn a_broker_that_is_killed(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(100);
    // Some are there, and some are anywhere.
    cast.wait_until(|cast| cast.station.lines().len() >= 10);
    server.kill();
    cast.publish(100);
    cast.publisher.wait_for("trying again");
    cast.station.wait_for("trying again");
    server.start_again();
    cast.publish(100);
    cast.arrives();
    cast.ends_each_once();
}

fn a_subscriber_that_was_away_for_too_long(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(10);
    cast.arrives();
    assert_eq!(cast.station.end(), 0);
    cast.publish(2_000);
    cast.is_published();
    cast.station.start(server);
    cast.arrives();
    cast.ends_each_once();
}

fn a_large_reading(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet(server, stage);
    cast.publish(1);
    cast.arrives();
    cast.publish_bytes(200_000);
    cast.arrives();
    cast.ends_in_order();
}

fn a_topic_with_a_dot(server: &mut Server, stage: &Arc<Stage>) {
    let mut cast = Cast::meet_about(server, stage, "plant.3/line");
    cast.publish(10);
    cast.arrives();
    cast.ends_in_order();
}
