//! What the subscriber says of what happens, in words for the person who reads it.

use securemqtt_cli::broker::INSECURE;
use securemqtt_cli::exit::Outcome;
use securemqtt_cli::identity::Role;
use securemqtt_cli::refusals;
use securemqtt_client::Notice;
use securemqtt_core::subscriber::{Event, Span};
use securemqtt_core::wire::Status;

use super::App;
use crate::output::Gap;

const LISTENING: &str = "Listening for encrypted messages...";

impl App {
    pub(super) fn tell(&mut self, notice: Notice<Event>) -> Outcome<()> {
        match notice {
            Notice::Connected => self.connected(),
            Notice::Listening => self.listening(),
            Notice::Trouble(trouble) => self.say_warning(trouble),
            Notice::Event(event) => self.event(event),
            Notice::Moved => Ok(()),
        }
    }

    fn connected(&mut self) -> Outcome<()> {
        self.output.say(&self.talk, "Connected to broker")?;
        if std::mem::replace(&mut self.greeted, true) {
            return Ok(());
        }
        self.output.say(&self.talk, format_args!("Identity {}", self.fingerprint))?;
        if self.insecure {
            self.say_warning(INSECURE)?;
        }
        match self.subscriber.engine().keyed() {
            0 => self.output.say(&self.talk, "Waiting for ECDH key exchange..."),
            kept => {
                self.resumes = true;
                self.output.say(&self.talk, format_args!("Keys kept from before: {kept}"))
            }
        }
    }

    /// With keys from before it listens as soon as the broker says so; without, when there is one.
    fn listening(&mut self) -> Outcome<()> {
        if std::mem::take(&mut self.resumes) {
            self.output.say(&self.talk, LISTENING)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Outcome<()> {
        if !matches!(event, Event::Late(_)) {
            self.say_late()?;
        }
        match event {
            Event::NewPeer { name, key } => {
                let how = self.first_contact;
                self.output.say(&self.talk, format_args!("New peer {name} {} ({how})", key.fingerprint()))
            }
            Event::AskPeer { id, name, key } => {
                self.questions.ask(id, &name, key.fingerprint());
                Ok(())
            }
            Event::Keyed { first, .. } => {
                if first {
                    self.output.say(&self.talk, "AES key derived successfully!")?;
                    self.output.say(&self.talk, LISTENING)?;
                }
                Ok(())
            }
            Event::Missing(span) => {
                self.gaps.missing(&span);
                self.say_span("missing", "Missing", &span, "not received")
            }
            Event::Late(span) => {
                self.gaps.late(&span);
                self.gather_late(span)
            }
            Event::Lost(span) => {
                self.gaps.lost(&span);
                self.say_span("lost", "Lost", &span, "the publisher no longer has it")
            }
            Event::Forged(span) => {
                self.say_span("forged", "FORGED", &span, "contradicted by the publisher's signed tick")
            }
            Event::Silent { name } => {
                self.output.pulse("silent", name.as_str());
                self.say_warning(format_args!("No sign of life from {name}"))
            }
            Event::Back { name } => {
                self.output.pulse("back", name.as_str());
                self.say_warning(format_args!("{name} is back"))
            }
            Event::RolledBack { name, quarantined } => {
                let what = if quarantined {
                    "what was sealed before is not shown, for it may have been shown already; --accept-rollback shows it"
                } else {
                    "what comes may have been shown before"
                };
                self.say_warning(format_args!(
                    "{name} remembers more than we do: was our state directory restored? Then {what}"
                ))
            }
            Event::Rejected { topic, why } => {
                tracing::debug!(topic, ?why, "a message was refused");
                Ok(())
            }
            refusal => self.refusal(refusal),
        }
    }

    fn refusal(&mut self, event: Event) -> Outcome<()> {
        let pending = matches!(event, Event::RefusedBy { status: Status::Pending, .. });
        let (who, text) = match event {
            Event::UnknownPublisher { name, key } => {
                (key.fingerprint().to_string(), refusals::not_known(Role::Subscriber, &name, &key))
            }
            Event::KeyChanged { name, pinned, shown } => {
                (shown.fingerprint().to_string(), refusals::changed_key(Role::Subscriber, &name, pinned, &shown))
            }
            Event::ForeignHello { id, shown } => {
                let shown = shown.fingerprint();
                let text =
                    format!("REFUSED a hello for publisher {id} with another key, {shown}: somebody is in the middle");
                (shown.to_string(), text)
            }
            Event::RefusedBy { name, status } | Event::Dismissed { name, status } => {
                (name.to_string(), format!("{name} refuses us: {}", refusal_hint(status)))
            }
            _ => return Ok(()),
        };
        if !pending {
            self.refused.insert(who);
        }
        self.say_warning(text)
    }

    /// What is sent again comes one by one, and is told as a whole.
    fn gather_late(&mut self, span: Span) -> Outcome<()> {
        let follows = |last: &Span| {
            (last.publisher, last.run, last.to) == (span.publisher, span.run, span.from) && last.topic == span.topic
        };
        match &mut self.late {
            Some(last) if follows(last) => last.to = span.to,
            _ => {
                self.say_late()?;
                self.late = Some(span);
            }
        }
        Ok(())
    }

    /// Tells what has come late so far.
    pub(super) fn say_late(&mut self) -> Outcome<()> {
        let late = self.late.take();
        late.map_or(Ok(()), |span| self.say_span("late", "Late", &span, "received after all"))
    }

    fn say_span(&mut self, event: &'static str, what: &str, span: &Span, why: &str) -> Outcome<()> {
        let (publisher, fingerprint) = self.publisher(span.publisher);
        self.output.gap(&Gap { event, publisher: &publisher, fingerprint, span });
        let (from, last, topic) = (span.from, span.to.saturating_sub(1), &span.topic);
        let text = format!("{what}: {publisher} {topic:?} {from}..{last}, {why}");
        self.say_warning(text)
    }

    pub(super) fn say_warning(&mut self, text: impl std::fmt::Display) -> Outcome<()> {
        self.output.say(&self.warn, text)
    }

    pub(super) fn summarise(&mut self) -> Outcome<()> {
        let counters = self.subscriber.engine().counters();
        if counters.missing > 0 || counters.forged > 0 {
            let (missing, forged) = (counters.missing, counters.forged);
            self.say_warning(format_args!("{missing} readings missing, {forged} forgeries"))?;
        }
        for (id, topic, ranges) in self.gaps.open() {
            let (publisher, _) = self.publisher(id);
            self.say_warning(format_args!("Still missing: {publisher} {topic:?} {ranges}"))?;
        }
        Ok(())
    }
}

fn refusal_hint(status: Status) -> &'static str {
    match status {
        Status::Unknown => "it does not know us; at the publisher, run `mqtt-publisher peers add` with our key",
        Status::NotAuthorised => "not authorised; its operator said no, or our name belongs to another key there",
        Status::Revoked => "revoked",
        Status::Expired => "our credential has expired",
        Status::Pending => "its operator is being asked; waiting",
        Status::StaleCounter => "our counter is stale",
    }
}
