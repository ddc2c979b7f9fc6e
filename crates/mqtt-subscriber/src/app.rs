//! The main mode: frames in, readings out.

mod commit;
mod gaps;
mod put_out;
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
use securemqtt_client::subscriber::{Settings, Subscriber, Told};
use securemqtt_core::identity::{Fingerprint, PeerId};
use securemqtt_core::subscriber::{Config, Span};

use crate::cli::{Cli, ReadingArgs};
use crate::output::{Output, Selection};
use gaps::Gaps;

/// How long the end waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(3);

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
}
