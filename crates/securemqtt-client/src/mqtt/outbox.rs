//! Publishes on their way: what waits, what rumqttc holds, what the broker has yet to acknowledge.
//!
//! ```text
//! publish() → waiting → handed → sent[packet id] → acknowledged
//!                ↑_________|___________|  connection lost: back, in the order of publishing
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use securemqtt_core::Qos;
use tokio::sync::Notify;

use super::connection::PacketId;

/// A publish, until the broker has it.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    pub(super) ticket: u64,
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// MQTT 5: after how many seconds the broker may drop it.
    pub(super) expiry: Option<u32>,
}

impl Publish {
    /// The payload, for rumqttc. At QoS 0 it is not kept: it is never sent again.
    pub(super) fn payload_to_send(&mut self) -> Bytes {
        match self.qos {
            Qos::AtMostOnce => std::mem::take(&mut self.payload),
            Qos::AtLeastOnce => self.payload.clone(),
        }
    }

    /// Bytes of its packet, counted as the broker counts them; at most a few too many.
    pub(super) fn packet_size(topic: &str, payload_len: usize) -> usize {
        let flags_and_length = 5;
        let topic_length_id_and_properties = 2 + 2 + 1 + 5;
        flags_and_length + topic_length_id_and_properties + topic.len() + payload_len
    }
}

/// Publishes on their way, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Publish>,
    /// With rumqttc, no packet identifier yet. QoS 0 and QoS 1 apart: each is sent in its own order.
    handed: VecDeque<Numbered>,
    handed_qos0: VecDeque<u64>,
    /// By packet identifier.
    sent: Vec<Option<Numbered>>,
    unacknowledged: usize,
    next_number: u64,
}

/// A publish with its place in the order of handing over.
#[derive(Debug)]
struct Numbered {
    number: u64,
    publish: Publish,
}

impl Outbox {
    pub(super) fn push(&mut self, publishes: &mut Vec<Publish>) {
        self.waiting.extend(publishes.drain(..));
    }

    pub(super) fn next_waiting(&mut self) -> Option<Publish> {
        self.waiting.pop_front()
    }

    /// `publish` is with rumqttc.
    pub(super) fn handed_over(&mut self, publish: Publish) {
        match publish.qos {
            Qos::AtMostOnce => self.handed_qos0.push_back(publish.ticket),
            Qos::AtLeastOnce => {
                self.handed.push_back(Numbered { number: self.next_number, publish });
                self.next_number += 1;
            }
        }
    }

    /// rumqttc sent a publish; returns the ticket of a QoS 0 one, which is done with that.
    pub(super) fn sent(&mut self, id: PacketId) -> Option<u64> {
        if id == 0 {
            return self.handed_qos0.pop_front();
        }
        let publish = self.handed.pop_front()?;
        let index = usize::from(id);
        if self.sent.len() <= index {
            self.sent.resize_with(index + 1, || None);
        }
        self.unacknowledged += 1;
        self.sent[index] = Some(publish);
        None
    }

    pub(super) fn acknowledged(&mut self, id: PacketId) -> Option<Publish> {
        let numbered = self.sent.get_mut(usize::from(id))?.take()?;
        self.unacknowledged -= 1;
        Some(numbered.publish)
    }

    /// Takes out the largest publish that the broker has not acknowledged.
    pub(super) fn take_largest(&mut self) -> Option<Publish> {
        let largest = self.sent.iter_mut().filter(|slot| slot.is_some());
        let largest =
            largest.max_by_key(|slot| slot.as_ref().map(|numbered| numbered.publish.payload.len()))?.take()?;
        self.unacknowledged -= 1;
        Some(largest.publish)
    }

    /// QoS 1 publishes that are with rumqttc or the broker, and not acknowledged.
    pub(super) fn under_way(&self) -> usize {
        self.handed.len() + self.unacknowledged
    }

    /// The ticket of the only publish that the broker has not acknowledged.
    pub(super) fn only_sent(&self) -> Option<u64> {
        let mut sent = self.sent.iter().flatten().map(|numbered| numbered.publish.ticket);
        sent.next().filter(|_| sent.next().is_none() && self.handed.is_empty())
    }

    /// Whether everything handed in is with the broker.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.handed.is_empty() && self.handed_qos0.is_empty() && self.unacknowledged == 0
    }

    /// Back to waiting, in order, with what the broker has not acknowledged. Returns the tickets of lost QoS 0 publishes.
    pub(super) fn connection_lost(&mut self) -> Vec<u64> {
        let mut again: Vec<Numbered> = self.sent.iter_mut().filter_map(Option::take).collect();
        again.sort_unstable_by_key(|numbered| numbered.number);
        again.extend(self.handed.drain(..));
        for numbered in again.into_iter().rev() {
            self.waiting.push_front(numbered.publish);
        }
        self.unacknowledged = 0;
        self.handed_qos0.drain(..).collect()
    }
}

/// How far the broker has acknowledged: every ticket below the mark is done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    mark: AtomicU64,
    moved: Notify,
    ended: std::sync::atomic::AtomicBool,
}

impl Progress {
    /// Waits until every ticket below `ticket` is done; `false` if the link ended first.
    pub(super) async fn reached(&self, ticket: u64) -> bool {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.mark() >= ticket {
                return true;
            }
            if self.ended.load(Ordering::Acquire) {
                return false;
            }
            moved.await;
        }
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.moved.notify_waiters();
    }

    fn advance(&self, mark: u64) {
        self.mark.store(mark, Ordering::Release);
        self.moved.notify_waiters();
    }
}

/// Turns tickets done in any order into the mark.
#[derive(Debug, Default)]
pub(super) struct Tally {
    base: u64,
    done: VecDeque<bool>,
}

impl Tally {
    pub(super) fn done(&mut self, ticket: u64) {
        let Some(index) = ticket.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        if self.done.len() <= index {
            self.done.resize(index + 1, false);
        }
        self.done[index] = true;
        if index == 0 {
            while self.done.front() == Some(&true) {
                self.done.pop_front();
                self.base += 1;
            }
        }
    }

    /// Moves the mark.
    pub(super) fn tell(&self, progress: &Progress) {
        if progress.mark() < self.base {
            progress.advance(self.base);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn publish(ticket: u64, qos: Qos) -> Publish {
        Publish { ticket, topic: "t".into(), payload: Bytes::new(), qos, retain: false, expiry: None }
    }

    #[test]
    fn a_lost_connection_puts_everything_back_in_order() {
        let mut outbox = Outbox::default();
        for ticket in 0..4 {
            outbox.handed_over(publish(ticket, Qos::AtLeastOnce));
        }
        outbox.handed_over(publish(9, Qos::AtMostOnce));
        outbox.sent(7);
        outbox.sent(3);
        outbox.sent(5);
        assert_eq!(outbox.acknowledged(3).unwrap().ticket, 1);
        outbox.push(&mut vec![publish(4, Qos::AtLeastOnce)]);
        assert_eq!(outbox.connection_lost(), [9]);
        let order: Vec<u64> = std::iter::from_fn(|| outbox.next_waiting()).map(|publish| publish.ticket).collect();
        assert_eq!(order, [0, 2, 3, 4]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_largest_that_was_sent_is_given_up() {
        let mut outbox = Outbox::default();
        for (ticket, size) in [(0, 10), (1, 30), (2, 20), (3, 90)] {
            let payload = Bytes::from(vec![0; size]);
            outbox.handed_over(Publish { payload, ..publish(ticket, Qos::AtLeastOnce) });
        }
        for id in 1..=3 {
            outbox.sent(id);
        }
        assert_eq!(outbox.take_largest().unwrap().ticket, 1);
        outbox.connection_lost();
        let order: Vec<u64> = std::iter::from_fn(|| outbox.next_waiting()).map(|publish| publish.ticket).collect();
        assert_eq!(order, [0, 2, 3]);
        assert!(outbox.take_largest().is_none() && outbox.is_empty());
    }

    #[test]
    fn the_mark_is_the_lowest_ticket_not_done() {
        let (mut tally, progress) = (Tally::default(), Progress::default());
        let mut mark = |done: &[u64]| {
            for ticket in done {
                tally.done(*ticket);
            }
            tally.tell(&progress);
            progress.mark()
        };
        assert_eq!(mark(&[1, 2]), 0);
        assert_eq!(mark(&[0]), 3);
        assert_eq!(mark(&[0]), 3);
    }
}
