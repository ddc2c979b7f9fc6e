//! The task behind a [`Link`](super::Link): one connection after another, until it is told to stop or cannot go on.

mod closes;
pub(super) mod telling;

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
use telling::deliver;

/// A connection that lasted this long was a good one: the next failure starts the back-off anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);

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

    fn forget_connection(&mut self) {
        for ticket in self.outbox.connection_lost() {
            self.done(ticket);
        }
        self.tell_done();
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
