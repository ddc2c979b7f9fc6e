//! The subscriber's driver: the engine, the link and the state directory.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use securemqtt_core::Delivery;
use securemqtt_core::Qos;
use securemqtt_core::identity::{IdentityKey, PeerId};
use securemqtt_core::peers::Peer;
use securemqtt_core::subscriber::{Config, Event, Output, Subscriber as Engine};
use securemqtt_core::trust::Trust;

use crate::clock::{Clock, OsRng, rng};
use crate::error::ClientError;
use crate::mqtt::{AckToken, BrokerOptions, LinkError, LinkEvent, Message};
use crate::pump::{Pump, Wake};
use crate::state::{CounterLease, PeersFile};

/// What a subscriber is made of.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: BrokerOptions,
    /// Who we are.
    pub identity: IdentityKey,
    /// Whom we trust.
    pub trust: Trust,
    /// What the engine reads.
    pub engine: Config,
    /// The quality of service that readings are subscribed with.
    pub qos: Qos,
    /// Where new peers are remembered.
    pub peers: PeersFile,
    /// Our counter on disk.
    pub counter: CounterLease,
}

/// Something to tell.
#[derive(Debug)]
pub enum Notice {
    /// The broker accepted us.
    Connected,
    /// The connection is lost, or could not be made; the next attempt comes after `retry_in`.
    Disconnected {
        /// What happened, and what to try.
        reason: String,
        /// Delay until the next attempt.
        retry_in: Duration,
    },
    /// The broker refuses a subscription, or a changed known_peers cannot be read.
    Refused {
        /// What, and why.
        what: String,
    },
    /// From the engine.
    Event(Event),
    /// A new peer could not be written to known_peers: it is remembered until the restart only.
    NotRemembered {
        /// Why.
        why: String,
    },
    /// A message was dealt with: its readings, to be put out before it is acknowledged.
    Arrived(Arrival),
}

/// A message from the broker with the readings that it brought: none, one, or those that waited for a key.
#[derive(Debug)]
pub struct Arrival {
    /// When it arrived.
    pub at: SystemTime,
    /// The quality of service of this delivery.
    pub qos: Qos,
    /// Whether the broker had it stored.
    pub retain: bool,
    /// How long the engine took.
    pub elapsed: Duration,
    /// The readings.
    pub readings: Vec<Delivery>,
    /// Give it to [`Subscriber::acknowledge`] when the readings are safe.
    pub ack: AckToken,
}

/// A running subscriber: [`Subscriber::next`] drives everything.
#[derive(Debug)]
pub struct Subscriber {
    engine: Engine,
    pump: Pump,
    clock: Clock,
    rng: OsRng,
    qos: Qos,
    peers: PeersFile,
    counter: CounterLease,
    out: Output,
    notices: VecDeque<Notice>,
}

impl Subscriber {
    /// Starts to connect. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the broker's options cannot work.
    pub fn start(settings: Settings) -> Result<Self, ClientError> {
        let sctr = settings.counter.reserved();
        Ok(Self {
            engine: Engine::new(settings.identity, settings.trust, settings.engine, sctr),
            pump: Pump::start(settings.broker)?,
            clock: Clock::start(),
            rng: rng(),
            qos: settings.qos,
            peers: settings.peers,
            counter: settings.counter,
            out: Output::default(),
            notices: VecDeque::new(),
        })
    }

    /// The engine, to be asked.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Drives the subscriber until there is something to tell. Safe to be cancelled.
    ///
    /// # Errors
    /// When the link has ended for good, or our counter cannot be made durable.
    pub async fn next(&mut self) -> Result<Notice, ClientError> {
        loop {
            if let Some(notice) = self.try_next()? {
                return Ok(notice);
            }
            let due = self.clock.instant(self.engine.next_poll_ms());
            let wake = self.pump.wake(due).await?;
            self.take(wake)?;
        }
    }

    /// What there is to tell at once; `None` means that now is the time to flush and to acknowledge.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn try_next(&mut self) -> Result<Option<Notice>, ClientError> {
        while self.notices.is_empty() {
            let Some(wake) = self.pump.try_wake() else { return Ok(None) };
            self.take(wake)?;
        }
        Ok(self.notices.pop_front())
    }

    /// Acknowledges a message whose readings are safe.
    pub fn acknowledge(&self, ack: AckToken) {
        self.pump.link.ack(ack);
    }

    /// A person's answer to [`Event::AskPeer`].
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn decide(&mut self, id: PeerId, allow: bool) -> Result<(), ClientError> {
        self.engine.decide(id, allow, self.clock.now(), &mut self.rng, &mut self.out);
        self.settle()
    }

    /// Ends cleanly: what is under way for at most `patience`, then DISCONNECT.
    pub async fn finish(mut self, patience: Duration) {
        let drained = tokio::time::timeout(patience, async {
            self.pump.flush().await.is_ok() && self.pump.link.drain(patience).await
        });
        // Acknowledgements that stay behind are made again: the broker delivers once more.
        let _ = drained.await;
        self.pump.link.disconnect().await;
    }

    fn take(&mut self, wake: Wake) -> Result<(), ClientError> {
        match wake {
            Wake::Due => {
                self.reload();
                self.engine.poll(self.clock.now(), &mut self.rng, &mut self.out);
            }
            Wake::Ended => return Err(LinkError::closed().into()),
            Wake::Event(LinkEvent::Failed(error)) => return Err(error.into()),
            Wake::Event(LinkEvent::Connected { .. }) => {
                let filters = self.engine.filters();
                self.notices.push_back(Notice::Connected);
                self.subscribe(filters)?;
            }
            Wake::Event(LinkEvent::Disconnected { reason, retry_in }) => {
                self.notices.push_back(Notice::Disconnected { reason, retry_in });
            }
            Wake::Event(LinkEvent::Message(message)) => return self.arrive(message),
            Wake::Event(LinkEvent::PublishRefused { topic, reason }) => {
                let what = format!("the broker refuses to publish on {topic}: {reason}");
                self.notices.push_back(Notice::Refused { what });
            }
            Wake::Event(LinkEvent::SubscriptionRefused { filter, reason }) => {
                let what = format!("the broker refuses the subscription to {filter}: {reason}");
                self.notices.push_back(Notice::Refused { what });
            }
            Wake::Event(LinkEvent::Subscribed { .. }) => {}
        }
        self.settle()
    }

    /// Somebody may have edited known_peers, to revoke a peer for example.
    fn reload(&mut self) {
        match self.peers.load_if_changed() {
            Ok(Some(known)) => self.engine.set_known(known),
            Ok(None) => {}
            Err(error) => self.notices.push_back(Notice::Refused { what: error.to_string() }),
        }
    }

    fn arrive(&mut self, message: Message) -> Result<(), ClientError> {
        let now = self.clock.now();
        let start = Instant::now();
        self.engine.handle(&message.topic, &message.payload, now, &mut self.rng, &mut self.out);
        let elapsed = start.elapsed();
        let readings = std::mem::take(&mut self.out.deliveries);
        self.settle()?;
        self.notices.push_back(Notice::Arrived(Arrival {
            at: SystemTime::now(),
            qos: message.qos,
            retain: message.retain,
            elapsed,
            readings,
            ack: message.ack,
        }));
        Ok(())
    }

    fn subscribe(&mut self, filters: Vec<String>) -> Result<(), ClientError> {
        let (control, readings): (Vec<String>, Vec<String>) =
            filters.into_iter().partition(|filter| filter.starts_with(securemqtt_core::topic::CONTROL_PREFIX));
        self.pump.subscribe(control, Qos::AtLeastOnce)?;
        self.pump.subscribe(readings, self.qos)
    }

    /// Passes on what the engine has left: the counter first, for nothing may be sent before it is durable.
    fn settle(&mut self) -> Result<(), ClientError> {
        if let Some(upto) = self.out.reserve_counter.take() {
            self.counter.reserve(upto)?;
        }
        let filters = std::mem::take(&mut self.out.subscribe);
        self.subscribe(filters)?;
        self.pump.send(self.out.send.drain(..));
        for event in std::mem::take(&mut self.out.events) {
            if let Event::NewPeer { name, key } = &event {
                let peer = Peer { name: name.clone(), key: key.clone(), revoked: false, comment: None };
                self.remember(peer);
            }
            self.notices.push_back(Notice::Event(event));
        }
        Ok(())
    }

    fn remember(&mut self, peer: Peer) {
        let why = match self.peers.edit(|known| known.add(peer)) {
            Ok(Ok(())) => return,
            Ok(Err(conflict)) => conflict.to_string(),
            Err(error) => error.to_string(),
        };
        self.notices.push_back(Notice::NotRemembered { why });
    }
}
