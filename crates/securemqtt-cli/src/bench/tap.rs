//! A connection of the bench's own: it tells at once whether the broker takes us, and clears at the end what it keeps.

use std::time::Duration;

use securemqtt_client::mqtt::{Link, LinkError, LinkEvent, LinkEvents};
use securemqtt_core::Qos;

use super::site::Site;
use crate::exit::{Exit, Failure, Outcome};

/// How long the broker may take to clear everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that hears nothing.
pub(super) struct Tap {
    link: Link,
    events: LinkEvents,
}

impl Tap {
    /// Connects, once.
    pub(super) async fn reach(site: &Site) -> Outcome<Self> {
        let (link, mut events) = Link::start(site.options("tap"))?;
        loop {
            match events.next().await {
                Some(LinkEvent::Connected { .. }) => return Ok(Self { link, events }),
                Some(LinkEvent::Failed(error)) => return Err(error.into()),
                Some(_) => {}
                None => return Err(Failure::new(Exit::Protocol, "the connection to the broker has ended")),
            }
        }
    }

    /// Clears retained messages; returns the topics that the broker may still have something on.
    pub(super) async fn clear(mut self, topics: &[String]) -> Vec<String> {
        let cleared = tokio::time::timeout(PATIENCE, self.clear_all(topics)).await;
        let mut left = Vec::new();
        if !matches!(cleared, Ok(Ok(true))) {
            left.extend_from_slice(topics);
        }
        while let Some(event) = self.events.try_next() {
            if let LinkEvent::PublishRefused { topic, .. } = event
                && !left.contains(&topic)
            {
                left.push(topic);
            }
        }
        self.link.disconnect().await;
        left
    }

    async fn clear_all(&self, topics: &[String]) -> Result<bool, LinkError> {
        for topic in topics {
            self.link.publish(topic.as_str(), Vec::new(), Qos::AtLeastOnce, true).await?;
        }
        Ok(self.link.drain(PATIENCE).await)
    }
}
