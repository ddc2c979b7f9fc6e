//! The parties that run at a time: each publisher and each subscriber know each other, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use securemqtt_core::topic::Control;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use super::party::Party;
use super::progress::Progress;
use super::publisher::{self, Order};
use super::site::Site;
use super::subscriber;
use super::tally::Tally;
use crate::exit::{Exit, Failure, Outcome};

/// Between two looks at what has come.
const POLL: Duration = Duration::from_millis(10);
/// So long without another handshake, or another reading that can still be sent again, and no more are waited for: several
/// of the publishers' ticks, which tell what is missing.
const STALLED: Duration = Duration::from_secs(30);
/// As long for readings that nobody sends again.
const QUIET: Duration = Duration::from_secs(3);

/// The parties of a run, some of them running.
pub(super) struct Group {
    site: Arc<Site>,
    parties: usize,
    retained: Vec<String>,
    wave: Option<Wave>,
}

/// Those that run.
struct Wave {
    tally: Arc<Tally>,
    pairs: usize,
    orders: Vec<mpsc::Sender<Order>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Outcome<()>>,
}

impl Group {
    /// Nobody yet.
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self { site, parties: 0, retained: Vec::new(), wave: None }
    }

    /// Makes and starts so many, all at once; returns when that was.
    pub(super) fn start(&mut self, (publishers, subscribers): (usize, usize)) -> Outcome<Instant> {
        let publishers = self.make(publishers)?;
        let subscribers = self.make(subscribers)?;
        publishers.iter().try_for_each(|party| party.knows(&subscribers))?;
        subscribers.iter().try_for_each(|party| party.knows(&publishers))?;
        self.note_retained(&publishers, &subscribers);

        let tally = Arc::new(Tally::new(publishers.len(), subscribers.len())?);
        let pairs = publishers.len() * subscribers.len();
        let (stop, stopped) = watch::channel(false);
        let (mut tasks, mut orders) = (JoinSet::new(), Vec::new());
        let began = Instant::now();
        for (index, party) in subscribers.into_iter().enumerate() {
            let (site, tally, stopped) = (Arc::clone(&self.site), Arc::clone(&tally), stopped.clone());
            tasks.spawn_blocking(move || alone(async { subscriber::run(&site, &tally, index, &party, stopped).await }));
        }
        for (index, party) in publishers.into_iter().enumerate() {
            let (site, tally) = (Arc::clone(&self.site), Arc::clone(&tally));
            let (order, ordered) = mpsc::channel(1);
            orders.push(order);
            tasks.spawn_blocking(move || alone(async { publisher::run(site, tally, index, &party, ordered).await }));
        }
        self.wave = Some(Wave { tally, pairs, orders, stop, tasks });
        Ok(began)
    }

    fn make(&mut self, count: usize) -> Outcome<Vec<Party>> {
        let first = self.parties;
        self.parties += count;
        (first..self.parties).map(|index| Party::make(&self.site, index.to_string())).collect()
    }

    fn note_retained(&mut self, publishers: &[Party], subscribers: &[Party]) {
        for publisher in publishers {
            let keys = subscribers.iter().map(|subscriber| Control::Keys(subscriber.id()));
            let all = [Control::Hello, Control::Tick].into_iter().chain(keys);
            self.retained.extend(all.map(|control| control.topic(publisher.id())));
        }
    }

    /// The topics on which the broker may keep something of ours.
    pub(super) fn retained(&self) -> &[String] {
        &self.retained
    }

    /// Waits until every subscriber has read something of every publisher; returns when that was.
    pub(super) async fn keyed(&mut self, progress: &Progress) -> Outcome<Instant> {
        let wave = self.wave()?;
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            wave.check()?;
            let (keyed, last) = wave.tally.greeted();
            progress.at(count(keyed));
            if let Some(last) = last.filter(|_| keyed == wave.pairs) {
                return Ok(last.into());
            }
            if keyed > seen {
                (seen, since) = (keyed, Instant::now());
            }
            if since.elapsed() > STALLED {
                return Err(no_keys(keyed, wave.pairs));
            }
            sleep(POLL).await;
        }
    }

    /// Publishes for so long, at a rate or as fast as it goes; returns how many readings there were, from the beginning on.
    pub(super) async fn publish(
        &mut self,
        per_second: Option<u32>,
        time: Duration,
        progress: &Progress,
    ) -> Outcome<u64> {
        let wave = self.wave()?;
        let began = Instant::now();
        let mut all = Vec::new();
        for orders in &wave.orders {
            let (done, told) = oneshot::channel();
            // One that has failed is noticed below.
            let _ = orders.send(Order { per_second, until: began + time, done }).await;
            all.push(told);
        }
        let mut readings = 0;
        for mut told in all {
            readings += loop {
                tokio::select! {
                    biased;
                    told = &mut told => match told {
                        Ok(readings) => break readings,
                        Err(_) => return Err(why_ended(wave.tasks.join_next().await)),
                    },
                    () = sleep(POLL) => {
                        wave.check()?;
                        progress.at(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
                    }
                }
            };
        }
        Ok(readings)
    }

    /// Waits until so many readings have arrived at every subscriber, or no more come; returns when the last one did.
    pub(super) async fn received(&mut self, readings: u64) -> Outcome<Option<Instant>> {
        let patience = if self.site.spool > 0 { STALLED } else { QUIET };
        let wave = self.wave()?;
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            wave.check()?;
            let (received, last) = wave.tally.readings();
            if received > seen {
                (seen, since) = (received, Instant::now());
            }
            if received >= readings || since.elapsed() > patience {
                return Ok(last.map(Into::into));
            }
            sleep(POLL).await;
        }
    }

    /// What those that run have published and received.
    pub(super) fn tally(&mut self) -> Outcome<&Tally> {
        Ok(&self.wave()?.tally)
    }

    fn wave(&mut self) -> Outcome<&mut Wave> {
        self.wave.as_mut().ok_or_else(|| Failure::new(Exit::Io, "nobody runs"))
    }

    /// Has everybody leave in an orderly way.
    pub(super) async fn finish(&mut self) -> Outcome<()> {
        let Some(wave) = &mut self.wave else { return Ok(()) };
        wave.orders.clear();
        wave.stop.send_replace(true);
        let mut all = Ok(());
        while let Some(ended) = wave.tasks.join_next().await {
            all = all.and(flatten(ended));
        }
        self.wave = None;
        all
    }
}

impl Wave {
    /// Nobody ends before the others but by a failure.
    fn check(&mut self) -> Outcome<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            ended => Err(why_ended(ended)),
        }
    }
}

/// As in the programs, one thread has everything of a party.
fn alone(party: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(party)
}

type Ended = Result<Outcome<()>, JoinError>;

fn why_ended(ended: Option<Ended>) -> Failure {
    let failure = ended.and_then(|ended| flatten(ended).err());
    failure.unwrap_or_else(|| Failure::new(Exit::Io, "one of the parties has ended"))
}

fn flatten(ended: Ended) -> Outcome<()> {
    ended.map_err(|error| Failure::new(Exit::Io, format!("one of the parties has failed: {error}")))?
}

fn no_keys(keyed: usize, pairs: usize) -> Failure {
    let (message, seconds) = (format!("{keyed} of {pairs} handshakes were made, and then none"), STALLED.as_secs());
    Failure::new(Exit::TimedOut, format!("{message} for {seconds} s")).hint(
        "a broker may drop what its access list forbids without a word: let this user read and write securemqtt/v1/# and securemqtt-bench/#",
    )
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
