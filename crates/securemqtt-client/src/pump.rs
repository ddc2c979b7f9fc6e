//! What both drivers do with the link: send what the engine wants sent, wait for what comes, wake when it is due.

use std::collections::VecDeque;
use std::time::Instant;

use securemqtt_core::{Outgoing, Qos};

use crate::alarm::Alarm;
use crate::error::ClientError;
use crate::mqtt::{BrokerOptions, Link, LinkError, LinkErrorKind, LinkEvent, LinkEvents, Message};

/// What woke the driver.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The link has something to say.
    Event(LinkEvent),
    /// Something is due.
    Due,
    /// The last control message was handed over: what waits behind it may go.
    Idle,
    /// The link has ended.
    Ended,
}

/// The link with an outbox in front of it, so that waiting for room never stops listening.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) link: Link,
    events: LinkEvents,
    outbox: VecDeque<Outgoing>,
    connected: bool,
    /// One for all waits: the moment is mostly the same.
    due: Alarm,
}

impl Pump {
    pub(crate) fn start(options: BrokerOptions) -> Result<Self, ClientError> {
        let (link, events) = Link::start(options)?;
        Ok(Self { link, events, outbox: VecDeque::new(), connected: false, due: Alarm::new() })
    }

    /// Subscribes at QoS 1; while there is no connection the next one subscribes to everything anyway.
    pub(crate) fn subscribe(&self, filters: Vec<String>, qos: Qos) -> Result<(), ClientError> {
        if self.connected {
            self.link.subscribe(filters.into_iter().map(|filter| (filter, qos)).collect())?;
        }
        Ok(())
    }

    /// Queues control messages. While there is no connection they are dropped: an engine says it all again when
    /// there is one, and an outage of a day must not leave a day of heartbeats behind.
    pub(crate) fn send(&mut self, messages: impl IntoIterator<Item = Outgoing>) {
        if self.connected {
            self.outbox.extend(messages);
        }
    }

    /// Waits for the next thing. Safe to be cancelled: nothing is lost.
    pub(crate) async fn wake(&mut self, due: Instant) -> Result<Wake, ClientError> {
        if self.outbox.is_empty() {
            return Ok(tokio::select! {
                biased;
                event = self.events.next() => self.note(event),
                () = self.due.until(due) => Wake::Due,
            });
        }
        while let Some(message) = self.outbox.front() {
            let publish =
                self.link.publish(message.topic.clone(), message.payload.clone(), message.qos, message.retain);
            tokio::select! {
                biased;
                sent = publish => {
                    self.outbox.pop_front();
                    tolerate(sent.map(drop))?;
                }
                event = self.events.next() => return Ok(self.note(event)),
                () = self.due.until(due) => return Ok(Wake::Due),
            }
        }
        // Perhaps nothing else happens for long: not every message is answered.
        Ok(Wake::Idle)
    }

    /// An event that is there already.
    pub(crate) fn try_wake(&mut self) -> Option<Wake> {
        let event = self.events.try_next()?;
        Some(self.note(Some(event)))
    }

    /// Messages that are there already, and are the next events.
    pub(crate) fn at_hand(&self) -> &[Message] {
        self.events.at_hand()
    }

    /// Whether the broker has accepted us.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether no control message waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Hands over everything in the outbox.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        while let Some(message) = self.outbox.pop_front() {
            tolerate(self.link.publish(message.topic, message.payload, message.qos, message.retain).await.map(drop))?;
        }
        Ok(())
    }

    fn note(&mut self, event: Option<LinkEvent>) -> Wake {
        match &event {
            Some(LinkEvent::Connected { .. }) => self.connected = true,
            Some(LinkEvent::Disconnected { .. }) => {
                self.connected = false;
                self.outbox.clear();
            }
            _ => {}
        }
        event.map_or(Wake::Ended, Wake::Event)
    }
}

/// One control message that the broker cannot take does not end the others.
fn tolerate(sent: Result<(), LinkError>) -> Result<(), ClientError> {
    match sent {
        Err(error) if error.kind() == LinkErrorKind::Message => {
            tracing::warn!("{error}");
            Ok(())
        }
        sent => Ok(sent?),
    }
}
