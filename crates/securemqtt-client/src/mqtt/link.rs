//! The end of the link that hands work in: [`Link`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use securemqtt_core::Qos;
use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::wire::Kind;
use tokio::sync::mpsc;

use super::driver::Driver;
use super::error::LinkError;
use super::events::{AckToken, LinkEvents};
use super::options::BrokerOptions;
use super::outbox::Publish;
use super::shared::{Shared, Waiting};

/// Seconds.
const DAY: u32 = 24 * 60 * 60;

/// The longest topic that MQTT can express.
const MAX_TOPIC: usize = 65_535;

/// A place in the order of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Work that is not a publish.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe(Vec<(String, Qos)>),
    Acknowledge(AckToken),
    Disconnect,
}

/// The link to the broker: hands work in. Clones share it; the last one dropped disconnects.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    publishes: mpsc::UnboundedSender<Publish>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Link {
    /// Spawns the task that connects and stays connected. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the options cannot work: a certificate file that cannot be read, an impossible address.
    pub fn start(options: BrokerOptions) -> Result<(Self, LinkEvents), LinkError> {
        let shared = Arc::new(Shared::new(2 * usize::from(options.in_flight.max(1))));
        let (publishes, publishes_in) = mpsc::unbounded_channel();
        let (commands, commands_in) = mpsc::unbounded_channel();
        let (news_out, news) = mpsc::channel(usize::from(options.receive_maximum).max(64) + 64);
        let driver = Driver::new(options, Arc::clone(&shared), publishes_in, commands_in, news_out)?;
        tokio::spawn(driver.run());
        let link = Self { shared: Arc::clone(&shared), publishes, commands };
        Ok((link, LinkEvents::new(shared, news)))
    }

    /// Publishes, after waiting for room among the publishes under way. Those of one caller keep their order.
    ///
    /// While the broker is away this waits too, once the room is used up. QoS 0 under way is lost with the connection.
    ///
    /// # Errors
    /// If the topic is impossible, the packet larger than the broker takes, or the link has ended: why it has.
    pub async fn publish(
        &self,
        topic: impl Into<Arc<str>>,
        payload: impl Into<Bytes>,
        qos: Qos,
        retain: bool,
    ) -> Result<Ticket, LinkError> {
        let (topic, payload) = (topic.into(), payload.into());
        self.check(&topic, payload.len())?;
        self.shared.window.acquire().await.map_err(|_| self.shared.ended())?.forget();
        self.hand_in(topic, payload, qos, retain)
    }

    /// Publishes if there is room at once, on a topic that [`Link::check`] has passed before.
    ///
    /// # Errors
    /// As [`Link::publish`], or if there is no room.
    pub(crate) fn try_publish(
        &self,
        topic: Arc<str>,
        payload: Bytes,
        qos: Qos,
        retain: bool,
    ) -> Result<Ticket, LinkError> {
        use tokio::sync::TryAcquireError;
        self.check_size(&topic, payload.len())?;
        match self.shared.window.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(LinkError::window_full()),
            Err(TryAcquireError::Closed) => return Err(self.shared.ended()),
        }
        self.hand_in(topic, payload, qos, retain)
    }

    /// Whether a message of this size can be published on this topic, as far as is known.
    ///
    /// # Errors
    /// If the topic is impossible, or the packet larger than the broker takes.
    pub fn check(&self, topic: &str, payload_len: usize) -> Result<(), LinkError> {
        if topic.is_empty() || topic.len() > MAX_TOPIC || topic.contains(['+', '#', '\0']) {
            return Err(LinkError::bad_topic(topic));
        }
        self.check_size(topic, payload_len)
    }

    /// As [`Link::check`], of a topic that has passed it.
    pub(crate) fn check_size(&self, topic: &str, payload_len: usize) -> Result<(), LinkError> {
        let (size, limit) =
            (Publish::packet_size(topic, payload_len), self.shared.max_packet_size.load(Ordering::Relaxed));
        if size > usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(LinkError::too_large(topic, size, limit));
        }
        Ok(())
    }

    fn hand_in(&self, topic: Arc<str>, payload: Bytes, qos: Qos, retain: bool) -> Result<Ticket, LinkError> {
        let ticket = self.shared.next_ticket.fetch_add(1, Ordering::AcqRel);
        let expiry = expiry(&topic, &payload);
        self.publishes
            .send(Publish { ticket, topic, payload, qos, retain, expiry })
            .map_err(|_| self.shared.ended())?;
        Ok(Ticket(ticket))
    }

    /// Asks for subscriptions, on this connection or, while there is none, on the next.
    ///
    /// The answers come as [`LinkEvent`](super::LinkEvent)s: `Subscribed` and `SubscriptionRefused`; publishes handed in later
    /// are sent later. Subscribe again whenever the link has connected.
    ///
    /// # Errors
    /// If the link has ended.
    pub fn subscribe(&self, filters: Vec<(String, Qos)>) -> Result<(), LinkError> {
        if filters.is_empty() {
            return Ok(());
        }
        self.commands.send(Command::Subscribe(filters)).map_err(|_| self.shared.ended())
    }

    /// Acknowledges a message. A token of an earlier connection does nothing: the broker delivers that message again.
    pub fn ack(&self, token: AckToken) {
        if token.is_awaited() {
            // Once the link has ended nobody waits for it.
            let _ = self.commands.send(Command::Acknowledge(token));
        }
    }

    /// Whether a publish is taken at once.
    pub fn has_room(&self) -> bool {
        self.shared.window.available_permits() > 0
    }

    /// Waits until a publish is taken at once. Safe to be cancelled.
    pub async fn room(&self) {
        if self.shared.window.acquire().await.is_err() {
            // The end of the link is told by its events.
            std::future::pending::<()>().await;
        }
    }

    /// How far the broker has acknowledged, for [`Link::acknowledged_beyond`].
    pub fn acknowledged_mark(&self) -> u64 {
        self.shared.progress.mark()
    }

    /// Waits until the broker has acknowledged more than a mark says. Safe to be cancelled.
    pub async fn acknowledged_beyond(&self, mark: u64) {
        if !self.shared.progress.reached(mark + 1).await {
            // The end of the link is told by its events.
            std::future::pending::<()>().await;
        }
    }

    /// Whether everything up to and including `ticket` is with the broker (QoS 0: sent or lost).
    pub fn is_acknowledged(&self, ticket: Ticket) -> bool {
        self.shared.progress.mark() > ticket.0
    }

    /// Waits until everything up to and including `ticket` is with the broker.
    ///
    /// # Errors
    /// If the link ended first.
    pub async fn acknowledged(&self, ticket: Ticket) -> Result<(), LinkError> {
        if self.reached(ticket.0 + 1).await { Ok(()) } else { Err(self.shared.ended()) }
    }

    /// Waits until the broker has acknowledged every QoS 1 publish handed in so far; `false` if that took longer than
    /// `timeout`, or the link ended first.
    pub async fn drain(&self, timeout: Duration) -> bool {
        let ticket = self.shared.next_ticket.load(Ordering::Acquire);
        tokio::time::timeout(timeout, self.reached(ticket)).await.unwrap_or(false)
    }

    async fn reached(&self, ticket: u64) -> bool {
        let _waiting = Waiting::new(&self.shared);
        self.shared.progress.reached(ticket).await
    }

    /// Disconnects cleanly and returns when that is done, after a few seconds at most. Drain first.
    pub async fn disconnect(&self) {
        let _ = self.commands.send(Command::Disconnect);
        self.commands.closed().await;
    }
}

/// After how many seconds a broker may drop a control message that nobody took (MQTT 5). Not KEYS, which a subscriber
/// needs however long it was away, and not readings.
fn expiry(topic: &str, payload: &[u8]) -> Option<u32> {
    if !topic.starts_with(CONTROL_PREFIX) {
        return None;
    }
    match Kind::of(payload) {
        Ok(Kind::Hello | Kind::Tick) => Some(30 * DAY),
        Ok(Kind::Keys) | Err(_) => None,
        Ok(_) => Some(DAY),
    }
}
