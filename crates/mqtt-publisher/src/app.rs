//! The main mode: readings in, frames out.

mod finish;
mod status;
mod take;
mod words;

use std::collections::HashSet;
use std::time::Duration;

use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_cli::identity::Role;
use securemqtt_cli::logging::Talk;
use securemqtt_cli::questions::Questions;
use securemqtt_cli::runtime;
use securemqtt_cli::signals::{Asked, Signals};
use securemqtt_cli::start::Start;
use securemqtt_cli::status::About;
use securemqtt_client::Trouble;
use securemqtt_client::control::ControlSocket;
use securemqtt_client::publisher::{Publisher, Settings, WhenFull};
use securemqtt_client::state::{StateDir, Store};
use securemqtt_core::Qos;
use securemqtt_core::identity::Fingerprint;
use securemqtt_core::peers::PeerName;
use securemqtt_core::publisher::{Config, Unreported};

use crate::batch::Batch;
use crate::cli::{Cli, KeyArgs, RatchetEvery};
use crate::input::{Input, Item, Items, Source};
use take::Taken;

/// How long the end waits for a broker that takes nothing, and a signal for one that does.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last tick, and what waits for us, may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// Publishes until the input ends, or INT or TERM.
pub(crate) fn run(cli: &Cli) -> Outcome<Exit> {
    if let Some(why) = cli.spool.contradiction(cli.broker.qos) {
        return Err(Failure::new(Exit::Usage, why));
    }
    // What is wrong with the input is said before anything else happens.
    let source = cli.readings.input().open(cli.readings.raw)?;
    let start = Start::new(Role::Publisher, &cli.state, &cli.trust, &cli.broker)?;
    // One thread: what is published goes to the connection without waking another. The disk and the input have their own.
    let cli = cli.clone();
    runtime::run(async move { App::new(cli, start, source).await?.run().await })
}

/// Refused subscribers that are named; a flood of strangers must not fill the terminal, nor the memory.
const MAX_REFUSED: usize = 256;

/// A run of the program.
struct App {
    cli: Cli,
    talk: Talk,
    warn: Talk,
    publisher: Publisher,
    signals: Signals,
    questions: Questions,
    first_contact: &'static str,
    fingerprint: Fingerprint,
    topic: String,
    qos: Qos,
    input: Option<Items>,
    source: Option<Box<dyn Source>>,
    refused: HashSet<(Fingerprint, u8)>,
    retain: bool,
    batch: Batch,
    sent: usize,
    /// What had to leave the spool although a subscriber lacks it.
    lost: Vec<Unreported>,
    bad: usize,
    greeted: bool,
    about: About,
    control: ControlSocket,
    /// Held for its lock.
    _state: StateDir,
}

impl App {
    async fn new(cli: Cli, start: Start, source: Box<dyn Source>) -> Outcome<Self> {
        let first_contact = start.first_contact();
        let about = About::new(&start);
        let fingerprint = start.identity.public().fingerprint();
        let topic = cli.readings.topic.clone().unwrap_or_else(|| format!("telemetry/{}", start.name));
        let (store, loaded) = Store::open(&start.state, start.state_key.as_ref())?;
        let is_live = cli.readings.input() == Input::Vitals;
        let settings = Settings {
            broker: start.broker,
            identity: start.identity,
            trust: start.trust,
            engine: engine_config(start.name, &cli.keys, cli.spool.bytes(cli.broker.qos)),
            peers: start.peers,
            store,
            loaded,
            when_full: if is_live { WhenFull::DropOldest } else { WhenFull::Wait },
        };
        let mut publisher = Publisher::start(settings).await?;
        if start.state.has_rotation_mark() {
            publisher.rotate();
            // A mark that stays costs one more rotation, at the next start.
            if publisher.is_stored(PATIENCE).await {
                start.state.take_rotation_mark()?;
            }
        }
        Ok(Self {
            talk: cli.log.talk("Publisher", true),
            warn: cli.log.talk("Publisher", false),
            publisher,
            signals: Signals::new()?,
            questions: Questions::new()?,
            first_contact,
            fingerprint,
            topic,
            qos: cli.broker.qos,
            input: None,
            source: Some(source),
            refused: HashSet::new(),
            retain: cli.readings.retain,
            batch: Batch::new(cli.readings.linger),
            sent: 0,
            lost: Vec::new(),
            bad: 0,
            greeted: false,
            about,
            control: ControlSocket::bind(&start.state),
            cli,
            _state: start.state,
        })
    }

    async fn run(mut self) -> Outcome<Exit> {
        let interrupted = self.publish_all().await?;
        // What was gathered goes out with a signal, too.
        self.send()?;
        Box::pin(self.finish(interrupted)).await
    }

    /// Publishes the whole input; true when a signal ended it.
    async fn publish_all(&mut self) -> Outcome<bool> {
        loop {
            let is_ready = self.publisher.is_ready();
            tokio::select! {
                biased;
                asked = self.signals.next() => match asked {
                    Asked::End => return Ok(true),
                    Asked::Reload => self.publisher.reload(),
                },
                request = self.control.next() => self.answer(request),
                (id, allow) = self.questions.answer() => self.publisher.decide(id, allow),
                notice = self.publisher.next() => self.tell(notice?)?,
                () = self.batch.due(), if is_ready => {
                    self.send()?;
                    self.publisher.give_way().await;
                }
                item = next_item(&mut self.input), if is_ready => {
                    let Some(item) = item else { return Ok(false) };
                    if self.take_all(item?)? == Taken::All {
                        self.publisher.give_way().await;
                    }
                }
            }
        }
    }

    /// Opens the tap.
    fn begin(&mut self) -> Outcome<()> {
        if let Some(source) = self.source.take() {
            self.talk.say("Publishing encrypted telemetry data...")?;
            let readings = &self.cli.readings;
            self.input = Some(Items::start(&readings.input(), source, readings.raw, readings.pace())?);
        }
        Ok(())
    }
}

/// Whether the broker refused readings.
fn concerns(trouble: &Trouble, topic: &str) -> bool {
    matches!(trouble, Trouble::PublishRefused { topic: refused, .. } if refused == topic)
}

async fn next_item(input: &mut Option<Items>) -> Option<Outcome<Item>> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}

fn engine_config(name: PeerName, keys: &KeyArgs, spool_max: usize) -> Config {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut config = Config::new(name);
    config.tick_ms = millis(keys.tick_every);
    config.rotate_ms = millis(keys.rotate_every);
    config.signed_frames = keys.sign_readings;
    config.spool_max = spool_max;
    match keys.ratchet_every {
        Some(RatchetEvery::Frames(frames)) => config.ratchet_frames = frames,
        Some(RatchetEvery::Time(time)) => config.ratchet_ms = millis(time),
        None => {}
    }
    config
}
