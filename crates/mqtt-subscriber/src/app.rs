//! The main mode: frames in, readings out.

mod gaps;
mod status;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_cli::identity::Role;
use securemqtt_cli::logging::Talk;
use securemqtt_cli::questions::Questions;
use securemqtt_cli::runtime;
use securemqtt_cli::signals::{Asked, Signals};
use securemqtt_cli::start::Start;
use securemqtt_cli::status::About;
use securemqtt_client::control::ControlSocket;
use securemqtt_client::mqtt::AckToken;
use securemqtt_client::state::{StateDir, Store};
use securemqtt_client::subscriber::{Arrival, Reading, Settings, Subscriber, Told};
use securemqtt_core::identity::{Fingerprint, PeerId};
use securemqtt_core::subscriber::{Config, Span};

use crate::cli::{Cli, ReadingArgs};
use crate::output::{Output, Record, Selection, Synced};
use gaps::Gaps;

/// How long the end waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages that are put out, stored and acknowledged together.
const MAX_GROUP: usize = 256;
/// How often a full disk is tried again.
const FULL_AGAIN: Duration = Duration::from_secs(1);

/// Subscribes until `-C`, `-W`, INT or TERM.
pub(crate) fn run(cli: &Cli) -> Outcome<Exit> {
    let style = cli.readings.style();
    let talk = cli.log.talk("Subscriber", style.is_demo());
    let warn = cli.log.talk("Subscriber", false);
    let output = Output::open(style, cli.readings.out.as_deref())?;
    let start = Start::new(Role::Subscriber, &cli.state, &cli.trust, &cli.broker)?;
    let cli = cli.clone();
    runtime::run(async move { App::new(cli, start, output, talk, warn)?.run().await })
}

/// Why the run ends.
enum End {
    Signal,
    Count,
    /// With more readings in the same message.
    CountWithin,
    TimeOut,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// A run of the program.
pub(crate) struct App {
    readings: ReadingArgs,
    talk: Talk,
    warn: Talk,
    output: Output,
    selection: Selection,
    subscriber: Subscriber,
    signals: Signals,
    questions: Questions,
    first_contact: &'static str,
    fingerprint: Fingerprint,
    uncommitted: Vec<AckToken>,
    names: HashMap<PeerId, (Arc<str>, Fingerprint)>,
    refused: HashSet<String>,
    gaps: Gaps,
    /// The readings that came late just now.
    late: Option<Span>,
    shown: u64,
    insecure: bool,
    greeted: bool,
    /// Keys were kept, and it has not said yet that it listens.
    resumes: bool,
    about: About,
    control: ControlSocket,
    /// Held for its lock.
    _state: StateDir,
}

impl App {
    /// Starts to connect.
    pub(crate) fn new(cli: Cli, start: Start, mut output: Output, talk: Talk, warn: Talk) -> Outcome<Self> {
        let readings = cli.readings;
        let selection = readings.selection();
        let first_contact = start.first_contact();
        let about = About::new(&start);
        let fingerprint = start.identity.public().fingerprint();
        let (store, loaded) = Store::open(&start.state, start.state_key.as_ref())?;
        let cursor = output.resume(loaded.cursor.as_ref(), loaded.clean)?;
        let settings = Settings {
            broker: start.broker,
            identity: start.identity,
            trust: start.trust,
            engine: Config {
                name: start.name,
                filters: readings.topic.clone(),
                exclude: selection.leave_out.clone(),
                accept_rollback: cli.accept_rollback,
            },
            qos: cli.broker.qos,
            times: readings.style().shows_times(),
            peers: start.peers,
            store,
            loaded,
            cursor,
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
            uncommitted: Vec::new(),
            names: HashMap::new(),
            refused: HashSet::new(),
            gaps: Gaps::default(),
            late: None,
            shown: 0,
            insecure: cli.broker.is_insecure(),
            greeted: false,
            resumes: false,
            about,
            control: ControlSocket::bind(&start.state),
            _state: start.state,
        })
    }

    /// Runs to the end.
    pub(crate) async fn run(mut self) -> Outcome<Exit> {
        let end = self.read_all().await?;
        match end {
            // The rest of the message is not shown: the next run begins with the whole of it.
            End::CountWithin => self.output.flush()?,
            _ => self.commit_the_last().await?,
        }
        self.summarise()?;
        let Self { subscriber, mut signals, shown, refused, readings, .. } = self;
        tokio::select! {
            finished = subscriber.finish(PATIENCE) => finished?,
            // A second signal.
            () = signals.end() => return Ok(Exit::Done),
        }
        match end {
            End::Count | End::CountWithin | End::Signal => Ok(Exit::Done),
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
        let timeout = self.readings.timeout;
        let over = async move {
            match timeout {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let mut over = std::pin::pin!(over);
        loop {
            // When nothing more is at hand, what was put out is handed on, stored, and then acknowledged.
            // Never with a reading in hand: it would be stored as read, and is not put out.
            let much = self.uncommitted.len() >= self.max_group() && self.subscriber.may_commit();
            if much && self.commit().await? == Flow::Stop {
                return Ok(End::Signal);
            }
            let ready = self.subscriber.try_next()?;
            if ready.is_none() && self.commit().await? == Flow::Stop {
                return Ok(End::Signal);
            }
            let told = if let Some(told) = ready {
                told
            } else {
                tokio::select! {
                    biased;
                    asked = self.signals.next() => match asked {
                        Asked::End => return Ok(End::Signal),
                        Asked::Reload => {
                            self.subscriber.reload()?;
                            continue;
                        }
                    },
                    () = &mut over => return Ok(End::TimeOut),
                    request = self.control.next() => {
                        self.answer(request)?;
                        continue;
                    }
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
                    let end = self.put_out(arrival);
                    self.output.relieve().await?;
                    if let Some(end) = end {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// With `-C` the end may come within a message: those before it are committed, each by itself.
    fn max_group(&self) -> usize {
        if self.readings.count.is_some() { 1 } else { MAX_GROUP }
    }

    /// Hands everything on and has it stored, then acknowledged; stops when a signal came while the disk was full.
    async fn commit(&mut self) -> Outcome<Flow> {
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
    async fn commit_the_last(&mut self) -> Outcome<()> {
        self.say_late()?;
        match self.output.sync().await? {
            Synced::Done(cursor) => self.subscriber.commit(self.uncommitted.drain(..), cursor),
            Synced::Full(why) => {
                self.warn.say(format_args!("{why}; the last readings are not written, and come again"))?;
            }
        }
        Ok(())
    }

    /// Puts out the readings of a message; with the last one that was asked for comes the end.
    fn put_out(&mut self, arrival: Arrival) -> Option<End> {
        let decrypt = arrival.decrypt_time();
        let Arrival { at, readings, ack, .. } = arrival;
        let mut left = readings.len();
        for Reading { delivery, qos, retain, redelivered } in readings {
            left -= 1;
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
                // A file is cut back to what was stored: nothing in it comes twice.
                redelivered: redelivered && self.readings.out.is_none(),
                payload: delivery.payload,
            };
            if !self.selection.takes(&record) {
                continue;
            }
            self.output.write(&record);
            self.shown += 1;
            if self.readings.count == Some(self.shown) {
                if left > 0 {
                    return Some(End::CountWithin);
                }
                self.uncommitted.extend(ack);
                return Some(End::Count);
            }
        }
        self.uncommitted.extend(ack);
        None
    }

    fn publisher(&mut self, id: PeerId) -> (Arc<str>, Fingerprint) {
        if let Some(known) = self.names.get(&id) {
            return known.clone();
        }
        let known = self.subscriber.engine().publisher(id);
        let known = known.map(|(name, fingerprint)| (Arc::from(name.as_str()), fingerprint));
        // A publisher is forgotten only between its last reading and this line.
        let known = known.unwrap_or_else(|| (id.to_string().into(), self.fingerprint));
        self.names.insert(id, known.clone());
        known
    }
}
