//! The connections of a fleet. A publisher's is the one with its number, modulo how many there are.

use std::time::Duration;

use securemqtt_client::mqtt::{Link, LinkEvent};
use securemqtt_core::{Outgoing, Qos};
use tokio::sync::mpsc;

use crate::job::Site;
use crate::ours;
use crate::outcome::Outcome;

/// Filters in one SUBSCRIBE.
const FILTERS: usize = 200;
/// Longer than the broker needs to acknowledge what is under way.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Lines {
    links: Vec<Link>,
    /// Without a bound: who publishes does not listen meanwhile, and a connection whose events find no room reads nothing, not
    /// even the acknowledgements that its publisher waits for.
    events: mpsc::UnboundedReceiver<(usize, LinkEvent)>,
}

impl Lines {
    pub(super) fn start(site: &Site, count: usize) -> Outcome<Self> {
        let (tell, events) = mpsc::unbounded_channel();
        let mut links = Vec::new();
        for line in 0..count {
            let (link, mut heard) = Link::start(ours::options(site, &format!("fleet-{line}")))?;
            links.push(link);
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(event) = heard.next().await {
                    if tell.send((line, event)).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { links, events })
    }

    pub(super) fn count(&self) -> usize {
        self.links.len()
    }

    /// The publishers, of so many, behind a connection.
    pub(super) fn members(&self, line: usize, publishers: usize) -> impl Iterator<Item = usize> + use<> {
        (line..publishers).step_by(self.links.len())
    }

    /// What happened, and where. A message is acknowledged at once: the engines keep nothing on disk.
    pub(super) async fn next(&mut self) -> Outcome<(usize, LinkEvent)> {
        let (line, event) = self.events.recv().await.ok_or("all connections have ended")?;
        if let LinkEvent::Message(message) = &event {
            self.links[line].ack(message.ack);
        }
        Ok((line, event))
    }

    pub(super) fn subscribe(&self, line: usize, filters: impl Iterator<Item = String>) -> Outcome<()> {
        let filters: Vec<(String, Qos)> = filters.map(|filter| (filter, Qos::AtLeastOnce)).collect();
        Ok(filters.chunks(FILTERS).try_for_each(|some| self.links[line].subscribe(some.to_vec()))?)
    }

    pub(super) async fn publish(&self, index: usize, topic: String, frame: Vec<u8>) -> Outcome<()> {
        let message = Outgoing { topic, payload: frame, qos: Qos::AtLeastOnce, retain: false };
        self.send(index, message).await
    }

    pub(super) async fn send(&self, index: usize, message: Outgoing) -> Outcome<()> {
        let Outgoing { topic, payload, qos, retain } = message;
        self.links[index % self.links.len()].publish(topic, payload, qos, retain).await?;
        Ok(())
    }

    /// Until the broker has acknowledged everything.
    pub(super) async fn drain(&self) -> Outcome<()> {
        for link in &self.links {
            if !link.drain(PATIENCE).await {
                return Err("the broker does not acknowledge".into());
            }
        }
        Ok(())
    }
}
