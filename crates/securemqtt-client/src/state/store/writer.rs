//! The thread that commits, and tries again where it cannot; it also reads, between two commits.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use securemqtt_core::packed::Places;
use tokio::sync::watch;

use super::StateKey;
use super::news::News;
use super::queue::{Fetch, Pending, Queue, Shared};
use super::tables::Tables;

/// How often a transaction that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The thread that commits.
pub(super) struct Writer {
    path: PathBuf,
    key: Option<StateKey>,
    /// None where it cannot be opened again after a failure: redb takes nothing more until it is.
    tables: Option<Tables>,
    shared: Arc<Shared>,
    news: watch::Sender<News>,
    /// Whose the places are that the engine gave: a window is sealed with its key.
    places: Places,
}

/// What to do next: first the reads, then the batch.
struct Work {
    reads: Vec<Fetch>,
    batch: Option<(Pending, u64)>,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        key: Option<StateKey>,
        tables: Tables,
        shared: Arc<Shared>,
        news: watch::Sender<News>,
    ) -> Self {
        Self { path, key, tables: Some(tables), shared, news, places: Places::default() }
    }

    /// Until all is stored and the end has come.
    pub(super) fn run(mut self) -> Result<(), String> {
        while let Some(Work { reads, batch }) = self.next() {
            self.read(reads, None);
            if let Some((mut batch, last)) = batch {
                if self.key.is_some() {
                    batch.windows = self.places.spell_out(&batch.windows).map_err(|why| why.to_string())?;
                }
                self.store(&batch)?;
                self.news.send_modify(|news| news.durable = last);
            }
        }
        Ok(())
    }

    /// Waits for something to do; none when the end has come.
    fn next(&self) -> Option<Work> {
        let nothing = |queue: &mut Queue| queue.batch.is_none() && queue.reads.is_empty() && !queue.closing;
        let waited = self.shared.wake.wait_while(self.shared.lock(), nothing);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let (reads, last) = (std::mem::take(&mut queue.reads), queue.last);
        let batch = queue.batch.take().map(|batch| (batch, last));
        (batch.is_some() || !reads.is_empty()).then_some(Work { reads, batch })
    }

    /// Answers whoever wants to read, from what is being stored first.
    fn read(&self, reads: Vec<Fetch>, storing: Option<&Pending>) {
        let unanswered = reads.into_iter().filter_map(|fetch| match storing {
            Some(batch) => batch.answer(fetch),
            None => Some(fetch),
        });
        for fetch in unanswered {
            let found = match &self.tables {
                Some(tables) => tables.fetch(&fetch.place),
                None => Err("the database cannot be opened".to_owned()),
            };
            fetch.answer(found);
        }
    }

    /// Stores a batch, however long it takes; at the end of the program once.
    fn store(&mut self, batch: &Pending) -> Result<(), String> {
        while let Err(why) = self.try_store(batch) {
            // Opened again at once, for those who read.
            self.tables = None;
            self.tables = Tables::open(&self.path, self.key.as_ref()).ok();
            self.news.send_if_modified(|news| news.stuck.replace(why.clone()).is_none());
            if !self.wait_out(batch) {
                return Err(why);
            }
        }
        self.news.send_if_modified(|news| news.stuck.take().is_some());
        Ok(())
    }

    /// Waits before the next try, and answers reads meanwhile; false at the end of the program.
    fn wait_out(&self, batch: &Pending) -> bool {
        let until = Instant::now() + TRY_AGAIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self
                .shared
                .wake
                .wait_timeout_while(self.shared.lock(), left, |queue| !queue.closing && queue.reads.is_empty());
            let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if queue.closing {
                return false;
            }
            let reads = std::mem::take(&mut queue.reads);
            drop(queue);
            self.read(reads, Some(batch));
            if left.is_zero() {
                return true;
            }
        }
    }

    fn try_store(&mut self, batch: &Pending) -> Result<(), String> {
        if self.tables.is_none() {
            self.tables = Some(Tables::open(&self.path, self.key.as_ref()).map_err(|error| error.to_string())?);
        }
        match &mut self.tables {
            Some(tables) => tables.store(batch),
            None => Err("the database is closed".to_owned()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;
    use std::thread;

    use securemqtt_core::record::{Change, Table};
    use tokio::sync::oneshot;

    use super::super::queue::Found;
    use super::super::{Batch, StoreEvent, news};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn put(key: &[u8]) -> Batch {
        let change = Change { table: Table::Peer, key: key.to_vec(), value: Some(key.to_vec().into()) };
        Batch { changes: vec![change], ..Batch::default() }
    }

    async fn fetch(shared: &Shared, key: &[u8]) -> Found {
        let (to, from) = oneshot::channel();
        shared.fetch(Fetch::new((Table::Peer, key.to_vec()), to));
        tokio::time::timeout(PATIENCE, from).await.unwrap().unwrap()
    }

    async fn next(news: &mut news::Reader) -> StoreEvent {
        let next = async {
            loop {
                match news.next() {
                    Some(event) => return event,
                    None => news.changed().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    fn on_a_bad_disk(path: &Path, shared: &Arc<Shared>) -> (Writer, news::Reader) {
        let (told, news) = watch::channel(News::default());
        let writer = Writer {
            path: path.to_owned(),
            key: None,
            tables: None,
            shared: Arc::clone(shared),
            news: told,
            places: Places::default(),
        };
        (writer, news::Reader::new(news))
    }

    #[tokio::test]
    async fn while_nothing_can_be_stored_what_was_handed_in_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        // Not there yet: it cannot be opened.
        let path = directory.path().join("mount/state.redb");
        let shared = Arc::<Shared>::default();
        let (writer, mut news) = on_a_bad_disk(&path, &shared);
        let ticket = shared.submit(put(b"a"));
        let running = thread::spawn(move || writer.run());
        let StoreEvent::Stuck { why } = next(&mut news).await else { unreachable!() };
        assert!(why.contains("mount/state.redb"), "{why}");
        // One that is under way, one that waits behind it, one that nobody can read now.
        let last = shared.submit(put(b"b"));
        assert_eq!(fetch(&shared, b"a").await.unwrap().unwrap()[..], *b"a");
        assert_eq!(fetch(&shared, b"b").await.unwrap().unwrap()[..], *b"b");
        assert!(fetch(&shared, b"c").await.is_err());
        assert!(!news.is_durable(ticket));
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        Tables::create(&path, None).unwrap();
        assert_eq!(next(&mut news).await, StoreEvent::Recovered);
        while next(&mut news).await != StoreEvent::Durable(last) {}
        assert_eq!(fetch(&shared, b"c").await, Ok(None));
        shared.close();
        assert_eq!(running.join().unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn at_the_end_a_bad_disk_is_tried_once_more() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Arc::<Shared>::default();
        let (writer, _news) = on_a_bad_disk(&directory.path().join("mount/state.redb"), &shared);
        shared.submit(put(b"a"));
        shared.close();
        assert!(writer.run().unwrap_err().contains("cannot write"));
    }
}
