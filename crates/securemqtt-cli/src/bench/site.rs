//! Where it happens: the broker, the topics and the scratch directory of one run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use securemqtt_client::mqtt::BrokerOptions;
use securemqtt_core::Qos;

use super::LoadArgs;
use crate::broker::BrokerArgs;
use crate::exit::{Exit, Failure, Outcome};

/// Bytes of a publisher's spool, as `mqtt-publisher` has by default.
const SPOOL: usize = 64 << 20;

/// In the topics of greetings.
const GREETING: &str = "/greeting/";

/// What all parties of a run share.
#[derive(Debug)]
pub(super) struct Site {
    broker: BrokerOptions,
    scratch: PathBuf,
    /// Tells this run from all others.
    run: String,
    pub(super) qos: Qos,
    pub(super) spool: usize,
    pub(super) size: usize,
}

impl Site {
    /// The parties' states go below `scratch`.
    pub(super) fn new(load: &LoadArgs, broker: &BrokerArgs, scratch: &Path) -> Outcome<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(Exit::Io, format!("the system gives no randomness: {error}")))?;
        let run = format!("{:08x}", u32::from_be_bytes(random));
        Ok(Self {
            // At most 23 characters with what a party adds, which every MQTT 3.1.1 broker must take.
            broker: broker.options(&format!("smq-b-{run}"))?,
            scratch: scratch.to_owned(),
            run,
            qos: broker.qos,
            spool: if load.no_spool || broker.qos == Qos::AtMostOnce { 0 } else { SPOOL },
            size: usize::try_from(load.size).unwrap_or(usize::MAX),
        })
    }

    /// How one party connects: with a client id of its own, once, and with a session that ends with its connection.
    pub(super) fn options(&self, party: &str) -> BrokerOptions {
        let mut options = self.broker.clone();
        options.client_id = format!("{}-{party}", options.client_id);
        options.clean_start = true;
        options.session_expiry = Duration::ZERO;
        options.retry.no_retry = true;
        options
    }

    /// The broker, without the password.
    pub(super) fn broker(&self) -> &BrokerOptions {
        &self.broker
    }

    /// Below which topic all readings are.
    pub(super) fn prefix(&self) -> String {
        format!("securemqtt-bench/{}", self.run)
    }

    /// Where a publisher says that its readings can be read from now on.
    pub(super) fn greeting(&self, publisher: usize) -> String {
        format!("{}{GREETING}{publisher}", self.prefix())
    }

    /// Where the readings of a publisher go.
    pub(super) fn topic(&self, publisher: usize) -> String {
        format!("{}/{publisher}", self.prefix())
    }

    /// The directory of the parties' states.
    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }
}

/// Whether a topic of a run is for greetings.
pub(super) fn is_greeting(topic: &str) -> bool {
    topic.contains(GREETING)
}
