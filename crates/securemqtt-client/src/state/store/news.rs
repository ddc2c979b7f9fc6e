//! What the thread has to tell. Only the newest counts, so that nothing piles up in front of a program that is busy.

use tokio::sync::watch;

use super::{StoreEvent, Ticket};

/// How things stand.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Everything up to this ticket survives a power cut.
    pub(super) durable: u64,
    /// Why nothing can be stored at the moment.
    pub(super) stuck: Option<String>,
}

/// How things stand, and what of it was told.
#[derive(Debug)]
pub(super) struct Reader {
    news: watch::Receiver<News>,
    told: u64,
    told_stuck: bool,
}

impl Reader {
    pub(super) fn new(news: watch::Receiver<News>) -> Self {
        Self { news, told: 0, told_stuck: false }
    }

    pub(super) fn is_durable(&self, ticket: Ticket) -> bool {
        self.news.borrow().durable >= ticket.0
    }

    /// What has changed since it was last told; trouble that came and went meanwhile was none.
    pub(super) fn next(&mut self) -> Option<StoreEvent> {
        let news = self.news.borrow_and_update();
        if news.stuck.is_some() != self.told_stuck {
            self.told_stuck = !self.told_stuck;
            return Some(news.stuck.clone().map_or(StoreEvent::Recovered, |why| StoreEvent::Stuck { why }));
        }
        if news.durable > self.told {
            self.told = news.durable;
            return Some(StoreEvent::Durable(Ticket(news.durable)));
        }
        None
    }

    /// Waits until there is something new. Safe to be cancelled.
    pub(super) async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            // The thread has ended: nothing will.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a batch survives a power cut.
    pub(super) async fn reached(&self, ticket: Ticket) {
        let mut news = self.news.clone();
        if news.wait_for(|news| news.durable >= ticket.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
