//! What happened is told: in order, in few wakes, and without waiting for whoever listens.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Driver;
use crate::mqtt::events::{LinkEvent, News};
use crate::mqtt::link::Command;

impl Driver {
    /// A publish is done with; [`Driver::tell_done`] says so.
    pub(in crate::mqtt) fn done(&mut self, ticket: u64) {
        self.tally.done(ticket);
        self.freed += 1;
    }

    /// Tells whoever waits for what is done since. Of the room that it left, when there is some, or nothing else to wait for:
    /// whoever waits for room would else be woken for every single publish.
    pub(in crate::mqtt) fn tell_done(&mut self) {
        if self.freed == 0 {
            return;
        }
        self.tally.tell(&self.shared.progress);
        if self.freed >= usize::from(self.options.in_flight / 2) || self.outbox.is_empty() {
            self.shared.window.add_permits(std::mem::take(&mut self.freed));
        }
    }

    /// Tells of an event, behind the messages that arrived before it.
    pub(in crate::mqtt) fn emit(&mut self, event: LinkEvent) {
        self.tell_arrived();
        self.tell(News::Event(event));
    }

    /// Tells of the messages that arrived, all at once: a wake for each would cost more than they do. How many there were.
    pub(in crate::mqtt) fn tell_arrived(&mut self) -> usize {
        let messages = std::mem::take(&mut self.arrived);
        let number = messages.len();
        if number > 0 {
            self.tell(News::Messages(messages));
        }
        number
    }

    /// Sends news, or keeps them until there is room; in order.
    fn tell(&mut self, news: News) {
        use mpsc::error::TrySendError;
        if !self.backlog.is_empty() {
            self.backlog.push_back(news);
            return;
        }
        if let Err(TrySendError::Full(news)) = self.news.try_send(news) {
            self.backlog.push_back(news);
        }
    }

    /// Delivers the last events, unless the driver would rather disconnect.
    pub(super) async fn flush_backlog(&mut self) {
        while let Some(news) = self.backlog.pop_front() {
            tokio::select! {
                sent = self.news.send(news) => if sent.is_err() { return },
                () = stop_command(&mut self.commands) => return,
            }
        }
    }
}

/// Moves the oldest of the backlog into the channel when it has room; `false` if nobody listens any more.
pub(in crate::mqtt) async fn deliver(news: &mpsc::Sender<News>, backlog: &mut VecDeque<News>) -> bool {
    let Ok(permit) = news.reserve().await else { return false };
    if let Some(oldest) = backlog.pop_front() {
        permit.send(oldest);
    }
    true
}

async fn stop_command(commands: &mut mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Disconnect) {
            return;
        }
    }
}
