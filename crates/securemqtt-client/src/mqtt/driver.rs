//! The task behind a [`Link`](super::Link): one connection after another, until it is told to stop or cannot go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use securemqtt_core::Qos;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::backoff::Backoff;
use super::connection;
use super::error::LinkError;
use super::events::{LinkEvent, Message, News};
use super::link::Command;
use super::live::{Ending, TAKE};
use super::options::BrokerOptions;
use super::outbox::{Outbox, Publish, Tally};
use super::shared::Shared;
use super::tls;

/// A connection that lasted this long was a good one: the next failure starts the back-off anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// A connection that was closed so soon was closed *at once*. A network that comes and goes takes longer over it.
const AT_ONCE: Duration = Duration::from_secs(1);
/// This many connections in a row, each accepted and at once closed without a word, are no accident.
const SILENT_CLOSES: u32 = 6;

/// After so many of them publishes go one at a time, and after so many more the one under way is given up.
const CAREFUL_AFTER: u32 = 2;
const CONVICTED_AFTER: u32 = 3;

pub(super) struct Driver {
    pub(super) options: BrokerOptions,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) shared: Arc<Shared>,
    pub(super) publishes: mpsc::UnboundedReceiver<Publish>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) news: mpsc::Sender<News>,
    /// News for which the channel has no room.
    pub(super) backlog: VecDeque<News>,
    /// Messages that are to be told together.
    pub(super) arrived: Vec<Message>,
    pub(super) outbox: Outbox,
    pub(super) tally: Tally,
    /// Publishes that are done, and were not told of.
    freed: usize,
    pub(super) taken: Vec<Publish>,
    /// Subscriptions asked for while there was no connection.
    pub(super) asked: Vec<Vec<(String, Qos)>>,
    pub(super) connections: u64,
    silent_closes: u32,
    /// The publish that was alone under way at the last silent closes, and at how many.
    suspect: Option<(u64, u32)>,
    pub(super) dropped: u64,
    /// Of the last message that arrived.
    pub(super) topic: Arc<str>,
}

impl Driver {
    pub(super) fn new(
        options: BrokerOptions,
        shared: Arc<Shared>,
        publishes: mpsc::UnboundedReceiver<Publish>,
        commands: mpsc::UnboundedReceiver<Command>,
        news: mpsc::Sender<News>,
    ) -> Result<Self, LinkError> {
        let tls = if options.address.uses_tls() { Some(tls::client_config(&options.tls)?) } else { None };
        // Finds what is wrong with the address now, not in the task.
        connection::open(&options, tls.as_ref())?;
        Ok(Self {
            options,
            tls,
            shared,
            publishes,
            commands,
            news,
            backlog: VecDeque::new(),
            arrived: Vec::new(),
            outbox: Outbox::default(),
            tally: Tally::default(),
            freed: 0,
            taken: Vec::with_capacity(TAKE),
            asked: Vec::new(),
            connections: 0,
            silent_closes: 0,
            suspect: None,
            dropped: 0,
            topic: Arc::default(),
        })
    }

    pub(super) async fn run(mut self) {
        let failure = self.keep_connected().await;
        // Known before anybody can notice that the link has ended.
        if let Some(error) = &failure {
            let _ = self.shared.failure.set(error.clone());
        }
        self.shared.window.close();
        self.shared.progress.end();
        if let Some(error) = failure {
            self.emit(LinkEvent::Failed(error));
            self.flush_backlog().await;
        }
    }

    /// Connects again and again; returns the error that ended it, or `None` if we were told to stop.
    async fn keep_connected(&mut self) -> Option<LinkError> {
        let mut backoff = Backoff::new(self.options.retry.max_delay);
        loop {
            let (ending, lasted) = self.connection().await;
            if matches!(&ending, Ending::Lost(error) if error.is_refused_size()) {
                self.give_up_largest();
            }
            let only = self.outbox.only_sent();
            let error = match ending {
                Ending::Stopped => {
                    self.forget_connection();
                    return None;
                }
                Ending::Lost(error) => self.judge(error, lasted),
            };
            self.suspect(only);
            self.forget_connection();
            if error.is_permanent() || (lasted.is_none() && self.options.retry.no_retry) {
                return Some(error);
            }
            // Two clients with one identifier put each other out as fast as they come back: while they may be that, they come
            // back fast, so that one of them soon knows.
            if lasted.is_some_and(|lasted| lasted >= GOOD_AFTER) || self.silent_closes > 0 {
                backoff.reset();
            }
            let retry_in = backoff.next();
            self.emit(LinkEvent::Disconnected { reason: error.to_string(), retry_in });
            if self.pause(retry_in).await.is_stop() {
                return None;
            }
        }
    }

    /// A publish is done with; [`Driver::tell_done`] says so.
    pub(super) fn done(&mut self, ticket: u64) {
        self.tally.done(ticket);
        self.freed += 1;
    }

    /// Tells whoever waits for what is done since. Of the room that it left, when there is some, or nothing else to wait for:
    /// whoever waits for room would else be woken for every single publish.
    pub(super) fn tell_done(&mut self) {
        if self.freed == 0 {
            return;
        }
        self.tally.tell(&self.shared.progress);
        if self.freed >= usize::from(self.options.in_flight / 2) || self.outbox.is_empty() {
            self.shared.window.add_permits(std::mem::take(&mut self.freed));
        }
    }

    /// Tells of an event, behind the messages that arrived before it.
    pub(super) fn emit(&mut self, event: LinkEvent) {
        self.tell_arrived();
        self.tell(News::Event(event));
    }

    /// Tells of the messages that arrived, all at once: a wake for each would cost more than they do. How many there were.
    pub(super) fn tell_arrived(&mut self) -> usize {
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
    async fn flush_backlog(&mut self) {
        while let Some(news) = self.backlog.pop_front() {
            tokio::select! {
                sent = self.news.send(news) => if sent.is_err() { return },
                () = stop_command(&mut self.commands) => return,
            }
        }
    }

    /// Which publish was too large the broker does not say; sent again, it would end every connection.
    fn give_up_largest(&mut self) {
        if let Some(publish) = self.outbox.take_largest() {
            let size = Publish::packet_size(&publish.topic, publish.payload.len());
            self.refused(publish, format!("its packet of {size} bytes is too large for it; publish less at once"));
        }
    }

    fn forget_connection(&mut self) {
        for ticket in self.outbox.connection_lost() {
            self.done(ticket);
        }
        self.tell_done();
    }

    /// Sees the pattern in connections that are accepted and at once closed. One that lasted longer breaks it; an attempt
    /// that got nowhere says nothing of it.
    fn judge(&mut self, error: LinkError, lasted: Option<Duration>) -> LinkError {
        let Some(lasted) = lasted else {
            return if error.is_silent_close() { LinkError::closed_unaccepted(&self.options) } else { error };
        };
        self.silent_closes = if error.is_silent_close() && lasted < AT_ONCE { self.silent_closes + 1 } else { 0 };
        if self.silent_closes >= SILENT_CLOSES {
            return LinkError::closed_again_and_again(&self.options, self.silent_closes);
        }
        error
    }

    /// After a few silent closes publishes go one at a time, to find the one that the broker cannot bear: it must not stop
    /// all others.
    pub(super) fn is_careful(&self) -> bool {
        self.silent_closes >= CAREFUL_AFTER
    }

    /// Gives up the publish that was alone under way at so many silent closes in a row.
    fn suspect(&mut self, only: Option<u64>) {
        let Some(ticket) = only.filter(|_| self.silent_closes > CAREFUL_AFTER) else {
            self.suspect = None;
            return;
        };
        let before = self.suspect.filter(|(suspect, _)| *suspect == ticket).map_or(0, |(_, closes)| closes);
        self.suspect = Some((ticket, before + 1));
        if before + 1 < CONVICTED_AFTER {
            return;
        }
        if let Some(publish) = self.outbox.take_largest() {
            self.refused(publish, format!("it closed the connection {CONVICTED_AFTER} times over this message"));
        }
        (self.suspect, self.silent_closes) = (None, 0);
    }

    /// Waits before the next attempt.
    async fn pause(&mut self, delay: Duration) -> Flow {
        let wait = async {
            loop {
                tokio::select! {
                    biased;
                    command = self.commands.recv() => match command {
                        Some(Command::Subscribe(filters)) => self.asked.push(filters),
                        // From a connection that is gone.
                        Some(Command::Acknowledge(_)) => {}
                        Some(Command::Disconnect) | None => return,
                    },
                    listening = deliver(&self.news, &mut self.backlog), if !self.backlog.is_empty() => if !listening { return },
                }
            }
        };
        if timeout(delay, wait).await.is_ok() { Flow::Stop } else { Flow::Continue }
    }
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

impl Flow {
    pub(super) fn is_stop(self) -> bool {
        self == Self::Stop
    }
}

/// Moves the oldest of the backlog into the channel when it has room; `false` if nobody listens any more.
pub(super) async fn deliver(news: &mpsc::Sender<News>, backlog: &mut VecDeque<News>) -> bool {
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
