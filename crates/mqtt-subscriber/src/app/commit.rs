//! What was put out is handed on and stored, and only then acknowledged; a full disk is waited for.

use std::time::Duration;

use securemqtt_cli::exit::Outcome;

use super::{App, Flow};
use crate::output::Synced;

/// Messages that are put out, stored and acknowledged together.
const MAX_GROUP: usize = 256;
/// How often a full disk is tried again.
const FULL_AGAIN: Duration = Duration::from_secs(1);

impl App {
    /// With `-C` the end may come within a message: those before it are committed, each by itself.
    pub(super) fn max_group(&self) -> usize {
        if self.readings.count.is_some() { 1 } else { MAX_GROUP }
    }

    /// Hands everything on and has it stored, then acknowledged; stops when a signal came while the disk was full.
    pub(super) async fn commit(&mut self) -> Outcome<Flow> {
        self.say_late()?;
        let mut told = false;
        let cursor = loop {
            match self.output.sync().await? {
                Synced::Done(cursor) => break cursor,
                Synced::Full(why) if !told => {
                    told = true;
                    self.warn.say(format_args!("{why}; readings wait, and go on when there is room"))?;
                }
                Synced::Full(_) => {}
            }
            tokio::select! {
                biased;
                () = self.signals.end() => return Ok(Flow::Stop),
                request = self.control.next() => self.answer(request)?,
                () = tokio::time::sleep(FULL_AGAIN) => {}
            }
        };
        if told {
            self.warn.say("there is room again; it goes on")?;
        }
        self.subscriber.commit(self.uncommitted.drain(..), cursor);
        if self.readings.count.is_some() {
            self.subscriber.store_now();
        }
        Ok(Flow::Continue)
    }

    /// As [`App::commit`], once: what a full disk does not take comes again at the next start.
    pub(super) async fn commit_the_last(&mut self) -> Outcome<()> {
        self.say_late()?;
        match self.output.sync().await? {
            Synced::Done(cursor) => self.subscriber.commit(self.uncommitted.drain(..), cursor),
            Synced::Full(why) => {
                self.warn.say(format_args!("{why}; the last readings are not written, and come again"))?;
            }
        }
        Ok(())
    }
}
