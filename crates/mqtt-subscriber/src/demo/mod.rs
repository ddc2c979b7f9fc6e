//! `mqtt-subscriber demo`: a broker, a publisher and a subscriber in one process, and an eavesdropper at the broker.
//! What it shows is real: three connections, the real handshake, the real frames.

mod broker;
mod parties;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_cli::logging::Talk;
use securemqtt_cli::signals::Signals;
use securemqtt_client::mqtt::{Link, LinkEvent, LinkEvents};
use securemqtt_client::state::StateDir;
use securemqtt_client::subscriber::{Arrival, Reading, Subscriber, Told};
use securemqtt_client::{Notice, Trouble};
use securemqtt_core::Qos;
use securemqtt_core::identity::Fingerprint;
use securemqtt_core::subscriber::Event;
use tokio::task::JoinHandle;

use crate::cli::{Cli, DemoArgs, DemoBroker};
use crate::output::{Output, Record, Style};
use broker::Broker;
use parties::{options, start_publisher, start_subscriber};

const TOPIC: &str = "telemetry/demo";
/// Bytes of a frame that are printed.
const SHOWN: usize = 40;
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs until Ctrl-C or `-C N`. It touches no state directory of the user's.
pub(crate) fn run(args: &DemoArgs, cli: &Cli) -> Outcome<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(async {
        let directory = tempfile::tempdir()?;
        let broker = match args.with {
            None => broker::embedded().await?,
            Some(DemoBroker::Mosquitto) => broker::mosquitto(directory.path()).await?,
        };
        Demo::start(cli, &broker, directory.path()).await?.run(args.count).await
    });
    runtime.shutdown_background();
    exit
}

/// The demo, running.
struct Demo {
    talk: Talk,
    broker_says: Talk,
    output: Output,
    subscriber: Subscriber,
    eavesdropper: LinkEvents,
    /// Dropped last: the eavesdropper's end of the connection.
    _tap: Link,
    publisher: JoinHandle<Outcome<()>>,
    publisher_key: Fingerprint,
    signals: Signals,
    _state: StateDir,
}

impl Demo {
    async fn start(cli: &Cli, broker: &Broker, directory: &Path) -> Outcome<Self> {
        let talk = cli.log.talk("Subscriber", true);
        let broker_says = cli.log.talk("Broker", true);
        let (port, name) = (broker.port, broker.name);
        broker_says.say(format_args!("{name}, on 127.0.0.1:{port}; what it sees is shown in hexadecimal"))?;

        let (tap, mut eavesdropper) = Link::start(options(port, "demo-eavesdropper"))?;
        listen(&tap, &mut eavesdropper).await?;
        let state = StateDir::open(directory.join("subscriber"))?;
        let subscriber = start_subscriber(&state, port)?;
        let (publisher_key, publisher) = start_publisher(directory, port, cli.log.talk("Publisher", true)).await?;
        Ok(Self {
            talk,
            broker_says,
            output: Output::open(Style::Demo(false), None)?,
            subscriber,
            eavesdropper,
            _tap: tap,
            publisher,
            publisher_key,
            signals: Signals::new()?,
            _state: state,
        })
    }

    async fn run(mut self, count: Option<u64>) -> Outcome<Exit> {
        let mut shown = 0;
        while count.is_none_or(|count| shown < count) {
            let told = tokio::select! {
                biased;
                () = self.signals.end() => break,
                ended = &mut self.publisher => {
                    ended.map_err(|error| Failure::new(Exit::Io, format!("the publisher has failed: {error}")))??;
                    return Err(Failure::new(Exit::Io, "the publisher has ended"));
                }
                told = self.subscriber.next() => told?,
            };
            match told {
                Told::Arrived(arrival) => shown += self.show(arrival).await?,
                Told::Notice(notice) => self.tell(notice)?,
            }
        }
        self.publisher.abort();
        self.subscriber.finish(PATIENCE).await?;
        Ok(Exit::Done)
    }

    /// What the broker saw, then what we read.
    async fn show(&mut self, arrival: Arrival) -> Outcome<u64> {
        let mut shown = 0;
        let decrypt = arrival.decrypt_time();
        for Reading { delivery, qos, retain, .. } in arrival.readings {
            let frame = self.next_frame().await?;
            self.broker_says.say(describe(&frame))?;
            self.output.write(&Record {
                arrived: SystemTime::now(),
                topic: delivery.topic,
                qos,
                retain,
                publisher: Arc::from("demo-publisher"),
                fingerprint: self.publisher_key,
                stream: delivery.stream,
                seq: delivery.seq,
                decrypt,
                redelivered: false,
                payload: delivery.payload,
            });
            self.output.flush()?;
            shown += 1;
        }
        self.subscriber.commit(arrival.ack, None);
        Ok(shown)
    }

    /// The next frame that crossed the broker, in the order of publishing.
    async fn next_frame(&mut self) -> Outcome<Vec<u8>> {
        loop {
            match self.eavesdropper.next().await {
                Some(LinkEvent::Message(message)) => return Ok(message.payload.to_vec()),
                Some(LinkEvent::Failed(error)) => return Err(error.into()),
                Some(_) => {}
                None => return Err(Failure::new(Exit::Io, "the demo's broker has gone")),
            }
        }
    }

    fn tell(&mut self, notice: Notice<Event>) -> Outcome<()> {
        match notice {
            Notice::Connected => self.talk.say("Waiting for ECDH key exchange...")?,
            Notice::Event(Event::NewPeer { name, key }) => {
                self.talk.say(format_args!("New peer {name} {} (first contact: remembered)", key.fingerprint()))?;
            }
            Notice::Event(Event::Keyed { first: true, .. }) => self.talk.say("AES key derived successfully!")?,
            Notice::Trouble(trouble @ Trouble::Disconnected { .. }) => self.talk.say(trouble)?,
            _ => {}
        }
        Ok(())
    }
}

/// The start of a frame, as the broker has it.
fn describe(frame: &[u8]) -> String {
    let hex = frame.iter().take(SHOWN).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let more = if frame.len() > SHOWN { "…" } else { "" };
    format!("{TOPIC} {hex}{more} ({} bytes)", frame.len())
}

/// Waits until the eavesdropper is subscribed: it must not miss the first frame.
async fn listen(tap: &Link, events: &mut LinkEvents) -> Outcome<()> {
    loop {
        match events.next().await {
            Some(LinkEvent::Connected { .. }) => tap.subscribe(vec![(TOPIC.to_owned(), Qos::AtLeastOnce)])?,
            Some(LinkEvent::Subscribed { .. }) => return Ok(()),
            Some(LinkEvent::Failed(error)) => return Err(error.into()),
            Some(_) => {}
            None => return Err(Failure::new(Exit::Io, "the demo's broker has gone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_shown_by_its_start() {
        assert_eq!(describe(&[0x17, 0xa0]), "telemetry/demo 17a0 (2 bytes)");
        assert!(describe(&[0; 100]).ends_with("00… (100 bytes)"));
    }
}
