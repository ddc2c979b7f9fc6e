//! What a driver hears of the link: [`LinkEvents`].

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use securemqtt_core::Qos;
use tokio::sync::mpsc;

use super::connection::PacketId;
use super::error::LinkError;
use super::shared::Shared;

/// Messages received and not yet taken by the driver: more than this many bytes, and we stop reading from the broker.
pub(super) const MAX_QUEUED_BYTES: usize = 64 << 20;

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
    pub topic: Topic,
    /// Its bytes.
    pub payload: Bytes,
    /// Quality of service of this delivery.
    pub qos: Qos,
    /// Whether the broker had it stored when we subscribed.
    pub retain: bool,
    /// Whether the broker may have delivered it before.
    pub dup: bool,
    /// Give it to [`Link::ack`](super::Link::ack) when the message is dealt with; the broker delivers it again otherwise.
    pub ack: AckToken,
}

/// The topic of a message, where it was received: with thousands of topics a copy would be one for each message.
#[derive(Clone)]
pub struct Topic(Bytes);

impl Topic {
    /// None if it is not UTF-8.
    pub(super) fn new(topic: Bytes) -> Option<Self> {
        str::from_utf8(&topic).is_ok().then_some(Self(topic))
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        // It was looked at before; to do so again costs less than to keep another form of it.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
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

impl LinkEvents {
    pub(super) fn new(shared: Arc<Shared>, news: mpsc::Receiver<News>) -> Self {
        Self { shared, news, messages: Vec::new().into_iter() }
    }

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

    /// Messages that came with the last one, and are told next.
    pub(crate) fn at_hand(&self) -> &[Message] {
        self.messages.as_slice()
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
        self.topic.0.len() + self.payload.len()
    }
}
