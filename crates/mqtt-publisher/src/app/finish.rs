//! The end: everything goes to the broker, and where that is asked for, to every subscriber.

use std::time::{Duration, Instant};

use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_core::publisher::Unreported;

use super::{App, GOODBYE, PATIENCE, concerns};

/// Ranges that are named of what nobody has confirmed.
const MAX_NAMED: usize = 20;

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Done,
    TimeOut,
    /// A second signal.
    Signal,
}

impl App {
    pub(super) async fn finish(mut self, interrupted: bool) -> Outcome<Exit> {
        self.publisher.watch();
        match self.drain(interrupted).await? {
            Waited::Signal => return Ok(Exit::Done),
            Waited::Done | Waited::TimeOut => {}
        }
        let confirmed = if interrupted { None } else { self.confirm().await? };
        let left = self.left();
        let peers = self.publisher.engine().confirmed();
        let Self { publisher, mut signals, topic, mut bad, warn, refused, .. } = self;
        let refused_by_broker = tokio::select! {
            finished = publisher.finish(GOODBYE) => finished?,
            () = signals.end() => return Ok(Exit::Done),
        };
        for trouble in refused_by_broker {
            bad += usize::from(concerns(&trouble, &topic));
            warn.say(trouble)?;
        }
        if let Some(left) = left {
            if !interrupted {
                return Err(Failure::new(Exit::TimedOut, left));
            }
            warn.say(left)?;
        }
        if let Some(failure) = confirmed {
            return Err(failure);
        }
        if interrupted && peers == 0 && !refused.is_empty() {
            return Err(Failure::new(Exit::Refused, "every subscriber that asked was refused"));
        }
        Ok(if bad > 0 { Exit::BadData } else { Exit::Done })
    }

    /// Until the broker has everything. It may take long, but something must move; after a signal it may not take long.
    async fn drain(&mut self, interrupted: bool) -> Outcome<Waited> {
        let mut deadline = Instant::now() + PATIENCE;
        while !self.publisher.is_drained() {
            tokio::select! {
                biased;
                () = self.signals.end() => return Ok(Waited::Signal),
                request = self.control.next() => self.answer(request),
                notice = self.publisher.next() => {
                    let notice = notice?;
                    if !interrupted && matches!(notice, securemqtt_client::Notice::Moved) {
                        deadline = Instant::now() + PATIENCE;
                    }
                    self.tell(notice)?;
                }
                () = tokio::time::sleep_until(deadline.into()) => return Ok(Waited::TimeOut),
            }
        }
        Ok(Waited::Done)
    }

    /// What the broker does not have, in words.
    fn left(&self) -> Option<String> {
        if self.publisher.is_drained() || self.sent == 0 && self.publisher.engine().kept().1 == 0 {
            return None;
        }
        Some(match self.publisher.engine().kept() {
            (_, 0) => "the broker has not acknowledged everything; some readings may be lost".to_owned(),
            (_, messages) => format!(
                "the broker has not acknowledged {messages} messages; they are kept, and the next start sends them"
            ),
        })
    }

    /// Until every subscriber has reported everything, where that is asked for; what is missing otherwise.
    async fn confirm(&mut self) -> Outcome<Option<Failure>> {
        let Some(patience) = self.cli.spool.confirm else { return Ok(None) };
        if self.publisher.engine().confirmed() == 0 {
            let why = "nobody could confirm the readings: no subscriber has a session";
            return Ok(Some(Failure::new(Exit::TimedOut, why)));
        }
        self.publisher.confirm_all();
        let deadline = Instant::now() + patience;
        loop {
            let unreported = self.publisher.engine().unreported();
            if unreported.is_empty() && self.lost.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = self.signals.end() => return Ok(Some(unconfirmed(&unreported, &self.lost, patience))),
                request = self.control.next() => self.answer(request),
                notice = self.publisher.next() => self.tell(notice?)?,
                () = tokio::time::sleep_until(deadline.into()) => {
                    return Ok(Some(unconfirmed(&unreported, &self.lost, patience)));
                }
            }
        }
    }
}

fn unconfirmed(unreported: &[Unreported], lost: &[Unreported], patience: Duration) -> Failure {
    let all: Vec<&Unreported> = lost.iter().chain(unreported).collect();
    let named = |part: &&Unreported| {
        let Unreported { name, topic, from, to } = part;
        format!("{name} {topic:?} {from}..{}", to.saturating_sub(1))
    };
    let mut text: Vec<String> = all.iter().take(MAX_NAMED).map(named).collect();
    if all.len() > MAX_NAMED {
        text.push(format!("and {} more ranges", all.len() - MAX_NAMED));
    }

    Failure::new(Exit::TimedOut, format!("not confirmed within {patience:?}: {}", text.join(", ")))
        .hint("they are kept: the next start sends again what a subscriber lacks")
}
