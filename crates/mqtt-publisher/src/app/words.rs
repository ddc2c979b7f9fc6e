//! What the publisher says of what happens, in words for the person who reads it.

use securemqtt_cli::broker::INSECURE;
use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_cli::identity::Role;
use securemqtt_cli::refusals;
use securemqtt_client::Notice;
use securemqtt_core::identity::{Fingerprint, IdentityPublic};
use securemqtt_core::peers::PeerName;
use securemqtt_core::publisher::{Event, Unreported};
use securemqtt_core::wire::Status;

use super::{App, MAX_REFUSED, concerns};

/// Ranges lost to subscribers that are remembered for the end.
const MAX_LOST: usize = 1024;

impl App {
    pub(super) fn tell(&mut self, notice: Notice<Event>) -> Outcome<()> {
        match notice {
            Notice::Connected => self.connected(),
            Notice::Trouble(trouble) => {
                self.bad += usize::from(concerns(&trouble, &self.topic));
                Ok(self.warn.say(trouble)?)
            }
            Notice::Event(event) => self.event(event),
            Notice::Listening | Notice::Moved => Ok(()),
        }
    }

    fn connected(&mut self) -> Outcome<()> {
        self.talk.say("Connected to broker")?;
        if std::mem::replace(&mut self.greeted, true) {
            return Ok(());
        }
        self.talk.say(format_args!("Identity {}", self.fingerprint))?;
        if self.cli.broker.is_insecure() {
            self.warn.say(INSECURE)?;
        }
        let kept = self.publisher.engine().confirmed();
        if kept > 0 {
            self.talk.say(format_args!("Keys kept from before: {kept}"))?;
        }
        if kept > 0 || self.cli.readings.no_wait {
            return self.begin();
        }
        Ok(self.talk.say("Waiting for a subscriber...")?)
    }

    fn event(&mut self, event: Event) -> Outcome<()> {
        match event {
            Event::NewPeer { name, key } => {
                let how = self.first_contact;
                self.talk.say(format_args!("New peer {name} {} ({how})", key.fingerprint()))?;
            }
            Event::AskPeer { id, name, key } => self.questions.ask(id, &name, key.fingerprint()),
            Event::Confirmed { first, .. } => {
                if first {
                    self.talk.say("ECDH key exchange completed")?;
                }
                self.begin()?;
            }
            Event::Refused { name, key, status, pinned } => self.refused(&name, &key, status, pinned)?,
            Event::Rotated { stream } => tracing::info!(stream, "a new stream has begun"),
            Event::Rejected(reject) => tracing::debug!(?reject, "a message was refused"),
            Event::EntryDropped { id } => {
                tracing::warn!(%id, "a subscriber has been away for so long that a key for it was dropped");
            }
            Event::LostTo(lost) => {
                let Unreported { name, topic, from, to } = &lost;
                let last = to.saturating_sub(1);
                self.warn
                    .say(format_args!("Lost to {name}: {topic:?} {from}..{last}; the spool is full, and it is away"))?;
                if self.lost.len() < MAX_LOST {
                    self.lost.push(lost);
                }
            }
            Event::Dropped { topic, from, to } => {
                let last = to.saturating_sub(1);
                self.warn
                    .say(format_args!("Dropped: {topic:?} {from}..{last}; the spool is full, and the broker away"))?;
            }
            Event::Restored => {
                self.warn.say("Our later readings are known to the broker: was our state directory restored? The stream is changed")?;
            }
            Event::Twin { we_end: false } => {
                self.warn
                    .say("Another process publishes with our identity, from a copy of our state; it has to end")?;
            }
            Event::Twin { we_end: true } => {
                return Err(Failure::new(
                    Exit::Protocol,
                    "another process publishes with our identity, from a copy of our state",
                )
                .hint(
                    "run one of them only; to run both, give this one an identity of its own: an empty --state-dir",
                ));
            }
            Event::RolledBack { id } => {
                tracing::warn!(%id, "a subscriber knows more than we do: our state is old; the stream was changed");
            }
        }
        Ok(())
    }

    fn refused(
        &mut self,
        name: &PeerName,
        key: &IdentityPublic,
        status: Status,
        pinned: Option<Fingerprint>,
    ) -> Outcome<()> {
        let shown = key.fingerprint();
        // It asks again and again; it is told each time, and we once.
        if self.refused.len() >= MAX_REFUSED || !self.refused.insert((shown, status as u8)) {
            return Ok(());
        }
        let text = match pinned {
            Some(pinned) => refusals::changed_key(Role::Publisher, name, pinned, key),
            None if status == Status::Revoked => format!("Refused {name} {shown}: revoked"),
            None => refusals::not_known(Role::Publisher, name, key),
        };
        Ok(self.warn.say(text)?)
    }
}
