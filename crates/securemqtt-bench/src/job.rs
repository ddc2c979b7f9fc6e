//! What a process of the benchmark is told on its command line and its stdin, and what it says on its stdout: a line of
//! JSON each. The Python baseline speaks it, too.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Site {
    /// On 127.0.0.1.
    pub port: u16,
    /// Over TLS, trusting this certificate.
    pub authority: Option<PathBuf>,
}

/// The readings of a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Where they go.
    pub topic: String,
    /// Quality of service, 0 or 1.
    pub qos: u8,
    /// Bytes of each.
    pub size: usize,
    /// How many a second; as many as go where none.
    pub per_second: Option<u32>,
    /// Gathered in messages of many readings, as `--linger 10ms` does.
    pub linger: bool,
}

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub(crate) enum Job {
    /// rumqttc publishing plaintext.
    PlainPublisher {
        /// The broker.
        site: Site,
        /// The readings.
        load: Load,
    },
    /// rumqttc receiving plaintext.
    PlainSubscriber {
        /// The broker.
        site: Site,
        /// What it reads.
        topic: String,
        /// Quality of service.
        qos: u8,
        /// Whether it notes the age of each reading.
        timed: bool,
    },
    /// Our publisher.
    Publisher {
        /// The broker.
        site: Site,
        /// Its state directory, with the subscribers pinned.
        state: PathBuf,
        /// The readings.
        load: Load,
        /// Whether it keeps them until every subscriber has them.
        spool: bool,
        /// How many subscribers it waits for.
        subscribers: usize,
    },
    /// Our subscriber, or many of them, each with a connection of its own.
    Subscribers {
        /// The broker.
        site: Site,
        /// A state directory for each, with the publishers pinned.
        states: Vec<PathBuf>,
        /// What they read.
        filter: String,
        /// Quality of service.
        qos: u8,
        /// Whether the age of each reading is noted.
        timed: bool,
    },
    /// Many publisher engines over a few connections.
    Fleet {
        /// The broker.
        site: Site,
        /// How many.
        publishers: usize,
        /// Over how many connections.
        connections: usize,
        /// A file with the subscriber's key.
        subscriber: PathBuf,
        /// Where the keys of all publishers are written, for the subscriber.
        known_peers: PathBuf,
    },
}

/// What a running process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// A publisher: publish for so long. It says [`Said::Published`], then [`Said::Settled`].
    Publish {
        /// Milliseconds.
        millis: u64,
    },
    /// A subscriber: say [`Said::Delivered`] when there were so many readings since its start, or no more come.
    Expect {
        /// How many.
        readings: u64,
    },
    /// A subscriber: say [`Said::Keyed`] when it has the keys of so many publishers, or no more come.
    ExpectKeys {
        /// How many.
        publishers: u64,
    },
    /// A fleet: connect; says [`Said::Keyed`] when every publisher has a session.
    Connect,
    /// A fleet: ticks of all publishers, and a reading behind the last ones; says [`Said::Published`].
    Tick {
        /// How many of each.
        rounds: usize,
        /// Whether each tick follows a reading, of which it tells.
        after_reading: bool,
    },
    /// A fleet: so many readings, the publishers in turn; says [`Said::Published`] when the broker has them.
    Readings {
        /// How many.
        count: u64,
    },
    /// A fleet: a tick of every publisher and no reading; says [`Said::Published`].
    Announce,
    /// A fleet: when the connections are back, every publisher says hello at its own moment, then sends one reading, which it
    /// keeps to send it again; says [`Said::Published`].
    Reconnect {
        /// The moments are spread evenly over so many milliseconds.
        spread_ms: u64,
    },
}

/// What a process says. Times are of the machine's monotonic clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
pub(crate) enum Said {
    /// Everything is set up.
    Ready,
    /// So many readings were handed to the client.
    Published {
        /// In answer to this question.
        readings: u64,
        /// When it began.
        began_ns: u64,
    },
    /// The broker has them all.
    Settled,
    /// What has come.
    Delivered {
        /// Since the start.
        readings: u64,
        /// When the last one came.
        last_ns: u64,
        /// Readings that came twice, out of order, or after a gap.
        disordered: u64,
        /// The age of each reading since the last answer, where that is noted.
        ages_ns: Vec<u64>,
    },
    /// So many have a session.
    Keyed {
        /// How many.
        peers: u64,
        /// When the last one got it.
        last_ns: u64,
    },
    /// It cannot go on.
    Failed {
        /// Why.
        why: String,
    },
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_as_they_were_written() {
        let load = Load { topic: "t".into(), qos: 1, size: 96, per_second: None, linger: false };
        let job = Job::PlainPublisher { site: Site { port: 1883, authority: None }, load };
        let text = serde_json::to_string(&job).unwrap();
        assert!(text.starts_with(r#"{"role":"plain-publisher","site":{"port":1883,"#), "{text}");
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
        assert_eq!(serde_json::to_string(&Said::Ready).unwrap(), r#"{"said":"ready"}"#);
        assert_eq!(serde_json::to_string(&Ask::Publish { millis: 5 }).unwrap(), r#"{"ask":"publish","millis":5}"#);
    }
}
