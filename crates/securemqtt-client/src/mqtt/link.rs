//! The two ends that a driver holds: [`Link`] hands work in, [`LinkEvents`] hears what happened.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use securemqtt_core::Qos;
use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::wire::Kind;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::connection::{MAX_PACKET_SIZE, PacketId};
use super::driver::Driver;
use super::error::LinkError;
use super::options::BrokerOptions;
use super::outbox::{Progress, Publish};

/// Messages received and not yet taken by the driver: more than this many bytes, and we stop reading from the broker.
pub(super) const MAX_QUEUED_BYTES: usize = 64 << 20;

/// Seconds.
const DAY: u32 = 24 * 60 * 60;

/// The longest topic that MQTT can express.
const MAX_TOPIC: usize = 65_535;

/// What happened on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The broker accepted us. Subscribe now: a broker may have forgotten the session even if it says it has not.
    Connected {
        /// Whether the broker kept our session.
        session_present: bool,
    },
    /// The connection is lost, or could not be made; the next attempt comes after `retry_in`.
    Disconnected {
        /// What happened, and what to try.
        reason: String,
        /// Delay until the next attempt.
        retry_in: Duration,
    },
    /// A message arrived.
    Message(Message),
    /// The broker granted these filters.
    Subscribed {
        /// The filters.
        filters: Vec<String>,
    },
    /// The broker refused a filter.
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// Its reason.
        reason: String,
    },
    /// The broker refused a publish, which is not tried again.
    PublishRefused {
        /// The topic.
        topic: String,
        /// What it was.
        payload: Bytes,
        /// Its reason.
        reason: String,
    },
    /// The link has ended, nothing follows.
    Failed(LinkError),
}

/// A message from the broker.
#[derive(Debug)]
pub struct Message {
    /// Topic it was published on.
    pub topic: Arc<str>,
    /// Its bytes.
    pub payload: Bytes,
    /// Quality of service of this delivery.
    pub qos: Qos,
    /// Whether the broker had it stored when we subscribed.
    pub retain: bool,
    /// Whether the broker may have delivered it before.
    pub dup: bool,
    /// Give it to [`Link::ack`] when the message is dealt with; the broker delivers it again otherwise.
    pub ack: AckToken,
}

/// The right to acknowledge one message, on the connection that it came over; worthless after a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the broker delivers the message again until it is acknowledged"]
pub struct AckToken {
    pub(super) connection: u64,
    pub(super) id: PacketId,
}

impl AckToken {
    /// Whether the broker awaits it: not at QoS 0.
    pub(crate) fn is_awaited(&self) -> bool {
        self.id != 0
    }
}

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

/// What both ends and the driver share.
#[derive(Debug)]
pub(super) struct Shared {
    /// A permit for each publish that may be under way.
    pub(super) window: Semaphore,
    pub(super) progress: Progress,
    next_ticket: AtomicU64,
    pub(super) max_packet_size: AtomicU32,
    pub(super) queued_bytes: AtomicUsize,
    /// Callers that wait for acknowledgements.
    pub(super) waiting: AtomicUsize,
    /// The driver may read on: messages were taken, or someone waits.
    pub(super) room: Notify,
    /// Why the link has ended, if not because it was told to.
    pub(super) failure: OnceLock<LinkError>,
}

impl Shared {
    /// What to tell whoever hands in work when the link has ended. It may come before [`LinkEvent::Failed`] is heard, and
    /// is then the only one to say why.
    fn ended(&self) -> LinkError {
        self.failure.get().cloned().unwrap_or_else(LinkError::closed)
    }
}

/// The link to the broker: hands work in. Clones share it; the last one dropped disconnects.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    publishes: mpsc::UnboundedSender<Publish>,
    commands: mpsc::UnboundedSender<Command>,
}

/// The link to the broker: hears what happened.
#[derive(Debug)]
pub struct LinkEvents {
    shared: Arc<Shared>,
    news: mpsc::Receiver<News>,
    /// Messages that came together, to be told one by one.
    messages: std::vec::IntoIter<Message>,
}

/// What the driver tells: an event, or the messages that one reading from the socket brought.
#[derive(Debug)]
pub(super) enum News {
    Event(LinkEvent),
    Messages(Vec<Message>),
}

impl Link {
    /// Spawns the task that connects and stays connected. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the options cannot work: a certificate file that cannot be read, an impossible address.
    pub fn start(options: BrokerOptions) -> Result<(Self, LinkEvents), LinkError> {
        let window = 2 * usize::from(options.in_flight.max(1));
        let shared = Arc::new(Shared {
            window: Semaphore::new(window),
            progress: Progress::default(),
            next_ticket: AtomicU64::new(0),
            max_packet_size: AtomicU32::new(MAX_PACKET_SIZE),
            queued_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            failure: OnceLock::new(),
        });
        let (publishes, publishes_in) = mpsc::unbounded_channel();
        let (commands, commands_in) = mpsc::unbounded_channel();
        let (news_out, news) = mpsc::channel(usize::from(options.receive_maximum).max(64) + 64);
        let driver = Driver::new(options, Arc::clone(&shared), publishes_in, commands_in, news_out)?;
        tokio::spawn(driver.run());
        let link = Self { shared: Arc::clone(&shared), publishes, commands };
        Ok((link, LinkEvents { shared, news, messages: Vec::new().into_iter() }))
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
    /// The answers come as [`LinkEvent::Subscribed`] and [`LinkEvent::SubscriptionRefused`]; publishes handed in later
    /// are sent later. Subscribe again at every [`LinkEvent::Connected`].
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

/// Someone waits for acknowledgements, and may not take events meanwhile: the driver reads on regardless.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        shared.room.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl LinkEvents {
    /// The next event, or `None` once the link has ended.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            match self.news.recv().await? {
                News::Event(event) => return Some(event),
                News::Messages(messages) => self.messages = messages.into_iter(),
            }
        }
    }

    /// The next event if one is there already.
    pub fn try_next(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(message) = self.messages.next() {
                return Some(self.release(message));
            }
            match self.news.try_recv().ok()? {
                News::Event(event) => return Some(event),
                News::Messages(messages) => self.messages = messages.into_iter(),
            }
        }
    }

    fn release(&self, message: Message) -> LinkEvent {
        let size = message.queued_size();
        if self.shared.queued_bytes.fetch_sub(size, Ordering::AcqRel) > MAX_QUEUED_BYTES {
            self.shared.room.notify_one();
        }
        LinkEvent::Message(message)
    }
}

impl Message {
    pub(super) fn queued_size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}
