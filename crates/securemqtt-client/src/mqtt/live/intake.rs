//! Work goes in: commands, subscriptions, and publishes as far as the window goes and the broker takes them.

use securemqtt_core::Qos;

use super::Live;
use crate::mqtt::connection::{Limits, Sender};
use crate::mqtt::driver::{Driver, Flow};
use crate::mqtt::events::LinkEvent;
use crate::mqtt::link::Command;
use crate::mqtt::outbox::Publish;

impl Driver {
    /// A command, and those behind it: acknowledgements come by the hundred.
    pub(super) fn take_commands(&mut self, first: Option<Command>, live: &mut Live) -> Flow {
        let mut next = first;
        loop {
            if self.command(next, live).is_stop() {
                return Flow::Stop;
            }
            match self.commands.try_recv() {
                Ok(command) => next = Some(command),
                // That all links are gone is told by the next `recv`.
                Err(_) => return Flow::Continue,
            }
        }
    }

    fn command(&mut self, command: Option<Command>, live: &mut Live) -> Flow {
        match command {
            Some(Command::Acknowledge(token)) => {
                if token.connection == self.connections {
                    live.sender.acknowledge(token.id);
                }
            }
            Some(Command::Subscribe(filters)) if live.connected.is_some() => self.subscribe(filters, live),
            Some(Command::Subscribe(filters)) => self.asked.push(filters),
            // All links are gone, or one of them said so.
            None | Some(Command::Disconnect) => return Flow::Stop,
        }
        Flow::Continue
    }

    pub(super) fn subscribe(&mut self, filters: Vec<(String, Qos)>, live: &mut Live) {
        let names = |filters: Vec<(String, Qos)>| filters.into_iter().map(|(filter, _)| filter);
        if live.sender.subscribe(&filters).is_ok() {
            live.subscribing.push_back(names(filters).collect());
            return;
        }
        for filter in names(filters) {
            self.emit(LinkEvent::SubscriptionRefused { filter, reason: "not a valid topic filter".into() });
        }
    }

    /// Hands over what the channel gave; what was asked of the link before it goes first.
    pub(super) fn take_publishes(&mut self, live: &mut Live) -> Flow {
        let mut taken = std::mem::take(&mut self.taken);
        self.outbox.push(&mut taken);
        self.taken = taken;
        let mut flow = Flow::Continue;
        if let Ok(command) = self.commands.try_recv() {
            flow = self.take_commands(Some(command), live);
        }
        self.hand_over(live);
        flow
    }

    /// Hands over what waits, as far as the window goes.
    pub(super) fn hand_over(&mut self, live: &mut Live) {
        while live.may_publish()
            && live.window.is_open(self.outbox.under_way(), self.is_careful())
            && let Some(mut publish) = self.outbox.next_waiting()
        {
            match refusal(&mut publish, live.limits, &mut live.sender) {
                None => self.outbox.handed_over(publish),
                Some(reason) => self.refused(publish, reason),
            }
        }
        live.sender.await_answers(self.outbox.under_way() > 0);
    }

    pub(in crate::mqtt) fn refused(&mut self, publish: Publish, reason: String) {
        self.done(publish.ticket);
        self.emit(LinkEvent::PublishRefused { topic: publish.topic.to_string(), payload: publish.payload, reason });
    }
}

/// Hands `publish` to rumqttc unless the broker would refuse it; then why.
fn refusal(publish: &mut Publish, limits: Limits, sender: &mut Sender) -> Option<String> {
    let size = Publish::packet_size(&publish.topic, publish.payload.len());
    if size > usize::try_from(limits.max_packet_size).unwrap_or(usize::MAX) {
        return Some(format!("the packet has {size} bytes and the broker takes at most {}", limits.max_packet_size));
    }
    if publish.retain && !limits.retain {
        return Some("the broker keeps no retained messages".into());
    }
    if publish.qos == Qos::AtLeastOnce && limits.max_qos == Qos::AtMostOnce {
        return Some("the broker takes QoS 0 only".into());
    }
    let handed = sender.publish(publish);
    handed.is_err().then(|| "not a valid topic".into())
}
