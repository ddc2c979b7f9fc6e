//! The main mode: frames in, readings out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use securemqtt_cli::broker::INSECURE;
use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_cli::identity::Role;
use securemqtt_cli::logging::Talk;
use securemqtt_cli::questions::Questions;
use securemqtt_cli::signals::Signals;
use securemqtt_cli::start::Start;
use securemqtt_client::Notice;
use securemqtt_client::mqtt::AckToken;
use securemqtt_client::state::StateDir;
use securemqtt_client::subscriber::{Arrival, Reading, Settings, Subscriber, Told};
use securemqtt_core::identity::{Fingerprint, PeerId};
use securemqtt_core::subscriber::{Config, Event, Span};
use securemqtt_core::wire::Status;

use crate::cli::{Cli, ReadingArgs};
use crate::output::{Output, Record, Selection};

/// How long the end waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(3);
/// Acknowledgements that wait for a flush.
const MAX_UNFLUSHED: usize = 256;

/// Subscribes until `-C`, `-W`, INT or TERM.
pub(crate) fn run(cli: &Cli) -> Outcome<Exit> {
    let style = cli.readings.style();
    let talk = cli.log.talk("Subscriber", style.is_demo());
    let warn = cli.log.talk("Subscriber", false);
    let output = Output::open(style, cli.readings.out.as_deref())?;
    let start = Start::new(Role::Subscriber, &cli.state, &cli.trust, &cli.broker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(async { App::new(cli, start, output, talk, warn)?.run().await });
    runtime.shutdown_background();
    exit
}

/// Why the run ends.
enum End {
    Signal,
    Count,
    TimeOut,
}

/// A run of the program.
pub(crate) struct App<'a> {
    readings: &'a ReadingArgs,
    talk: Talk,
    warn: Talk,
    output: Output,
    selection: Selection,
    subscriber: Subscriber,
    signals: Signals,
    questions: Questions,
    first_contact: &'static str,
    fingerprint: Fingerprint,
    unflushed: Vec<AckToken>,
    names: HashMap<PeerId, (String, Fingerprint)>,
    refused: HashSet<String>,
    shown: u64,
    insecure: bool,
    greeted: bool,
    /// Held for its lock.
    _state: StateDir,
}

impl<'a> App<'a> {
    /// Starts to connect.
    pub(crate) fn new(cli: &'a Cli, start: Start, output: Output, talk: Talk, warn: Talk) -> Outcome<Self> {
        let readings = &cli.readings;
        let selection = readings.selection();
        let first_contact = start.first_contact();
        let fingerprint = start.identity.public().fingerprint();
        let counter = start.state.counter()?;
        let settings = Settings {
            broker: start.broker,
            identity: start.identity,
            trust: start.trust,
            engine: Config { name: start.name, filters: readings.topic.clone(), exclude: selection.leave_out.clone() },
            qos: cli.broker.qos,
            peers: start.peers,
            counter,
        };
        Ok(Self {
            readings,
            talk,
            warn,
            output,
            selection,
            subscriber: Subscriber::start(settings)?,
            signals: Signals::new()?,
            questions: Questions::new()?,
            first_contact,
            fingerprint,
            unflushed: Vec::new(),
            names: HashMap::new(),
            refused: HashSet::new(),
            shown: 0,
            insecure: cli.broker.is_insecure(),
            greeted: false,
            _state: start.state,
        })
    }

    /// Runs to the end.
    pub(crate) async fn run(mut self) -> Outcome<Exit> {
        let end = self.read_all().await?;
        self.flush()?;
        self.summarise()?;
        let Self { subscriber, mut signals, shown, refused, readings, .. } = self;
        tokio::select! {
            () = subscriber.finish(PATIENCE) => {}
            // A second signal.
            () = signals.next() => return Ok(Exit::Done),
        }
        match end {
            End::Count | End::Signal => Ok(Exit::Done),
            End::TimeOut if shown == 0 && !refused.is_empty() => {
                Err(Failure::new(Exit::Refused, "no reading arrived, and a peer was refused"))
            }
            End::TimeOut => {
                let wanted = readings.count.map(|count| format!(" of {count}")).unwrap_or_default();
                Err(Failure::new(Exit::TimedOut, format!("the time is up after {shown}{wanted} readings")))
            }
        }
    }

    async fn read_all(&mut self) -> Outcome<End> {
        let over = async {
            match self.readings.timeout {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let mut over = std::pin::pin!(over);
        loop {
            // When nothing more is at hand, what was put out is handed on, then acknowledged.
            let ready = self.subscriber.try_next()?;
            if ready.is_none() || self.unflushed.len() >= MAX_UNFLUSHED {
                self.flush()?;
            }
            let told = if let Some(told) = ready {
                told
            } else {
                tokio::select! {
                    biased;
                    () = self.signals.next() => return Ok(End::Signal),
                    () = &mut over => return Ok(End::TimeOut),
                    (id, allow) = self.questions.answer() => {
                        self.subscriber.decide(id, allow)?;
                        continue;
                    }
                    told = self.subscriber.next() => told?,
                }
            };
            match told {
                Told::Notice(notice) => self.tell(notice)?,
                Told::Arrived(arrival) => {
                    if self.put_out(arrival)? {
                        return Ok(End::Count);
                    }
                }
            }
        }
    }

    /// Hands everything on, then acknowledges it.
    fn flush(&mut self) -> Outcome<()> {
        self.output.flush()?;
        for ack in self.unflushed.drain(..) {
            self.subscriber.acknowledge(ack);
        }
        Ok(())
    }

    fn tell(&mut self, notice: Notice<Event>) -> Outcome<()> {
        match notice {
            Notice::Connected => self.connected(),
            Notice::Trouble(trouble) => self.say_warning(trouble),
            Notice::Event(event) => self.event(event),
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
        self.output.say(&self.talk, "Waiting for ECDH key exchange...")
    }

    /// True when the last reading that was asked for is out.
    fn put_out(&mut self, arrival: Arrival) -> Outcome<bool> {
        let Arrival { at, elapsed, readings, ack } = arrival;
        let decrypt = elapsed / u32::try_from(readings.len().max(1)).unwrap_or(u32::MAX);
        for Reading { delivery, qos, retain } in readings {
            let (publisher, fingerprint) = self.publisher(delivery.publisher);
            let record = Record {
                arrived: at,
                topic: delivery.topic,
                qos,
                retain,
                publisher,
                fingerprint,
                stream: delivery.stream,
                seq: delivery.seq,
                decrypt,
                payload: delivery.payload,
            };
            if !self.selection.takes(&record) {
                continue;
            }
            self.output.write(&record)?;
            self.shown += 1;
            if self.readings.count == Some(self.shown) {
                self.unflushed.push(ack);
                return Ok(true);
            }
        }
        self.unflushed.push(ack);
        Ok(false)
    }

    fn publisher(&mut self, id: PeerId) -> (String, Fingerprint) {
        if let Some(known) = self.names.get(&id) {
            return known.clone();
        }
        let known = self.subscriber.engine().publisher(id);
        let known = known.map(|(name, fingerprint)| (name.to_string(), fingerprint));
        // A publisher is forgotten only between its last reading and this line.
        let known = known.unwrap_or_else(|| (id.to_string(), self.fingerprint));
        self.names.insert(id, known.clone());
        known
    }

    fn event(&mut self, event: Event) -> Outcome<()> {
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
                    self.output.say(&self.talk, "Listening for encrypted messages...")?;
                }
                Ok(())
            }
            Event::Missing(span) => self.say_span("Missing", &span, "not received"),
            Event::Late(span) => self.say_span("Late", &span, "received after all"),
            Event::Forged(span) => self.say_span("FORGED", &span, "contradicted by the publisher's signed tick"),
            Event::Silent { name } => self.say_warning(format_args!("No sign of life from {name}")),
            Event::Back { name } => self.say_warning(format_args!("{name} is back")),
            Event::RolledBack { name } => {
                self.say_warning(format_args!("{name} remembers more than we do: was our state directory restored?"))
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
                let (shown, line) = (key.fingerprint(), key.to_openssh());
                let trust = format!("to trust it: mqtt-subscriber peers add {name} {line}");
                (shown.to_string(), format!("Refused {name} {shown}: not a known peer\n  {trust}"))
            }
            Event::KeyChanged { name, pinned, shown } => {
                let line = shown.to_openssh();
                let shown = shown.fingerprint();
                let text = format!(
                    "REFUSED {name}: its key has changed, or somebody pretends to be it\n  pinned {pinned}\n  \
                     shown  {shown}\n  if the change is genuine: mqtt-subscriber peers replace {name} {line}"
                );
                (shown.to_string(), text)
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

    fn say_span(&mut self, what: &str, span: &Span, why: &str) -> Outcome<()> {
        let (publisher, _) = self.publisher(span.publisher);
        let (from, last, topic) = (span.from, span.to.saturating_sub(1), &span.topic);
        let text = format!("{what}: {publisher} {topic:?} {from}..{last}, {why}");
        self.say_warning(text)
    }

    fn say_warning(&mut self, text: impl std::fmt::Display) -> Outcome<()> {
        self.output.say(&self.warn, text)
    }

    fn summarise(&mut self) -> Outcome<()> {
        let counters = self.subscriber.engine().counters();
        if counters.missing > 0 || counters.forged > 0 {
            let (missing, forged) = (counters.missing, counters.forged);
            self.say_warning(format_args!("{missing} readings missing, {forged} forgeries"))?;
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
