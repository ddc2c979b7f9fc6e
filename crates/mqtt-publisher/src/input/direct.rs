//! Stdin without a thread: a line in a pipe is published by the thread that hears of it.
//!
//! A read must not wait, for the connection shares our thread, and stdin cannot be made non-blocking: whoever else has it
//! would find it so. Linux can be asked for one read that does not wait (`preadv2` with `RWF_NOWAIT`), of pipes and sockets;
//! where it says no, as for files, terminals and before 6.5, the thread of `pump` reads.

use std::io::{self, BufRead as _, BufReader, ErrorKind, IoSliceMut, Read};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::{ReadWriteFlags, preadv2};
use securemqtt_cli::exit::Outcome;
use securemqtt_client::fd::readable;
use tokio::io::unix::AsyncFd;

use super::{BUFFER, Item, LineSource};

/// The lines of a pipe or a socket.
#[derive(Debug)]
pub struct Direct {
    ready: AsyncFd<OwnedFd>,
    lines: LineSource<BufReader<WithoutWait>>,
    /// How many readings are still wanted.
    wanted: Option<u64>,
    is_over: bool,
}

impl Direct {
    /// The lines of stdin, `count` readings of them at most; `None` where it can only be read with a wait. Needs a tokio runtime.
    pub(super) fn stdin(raw: bool, count: Option<u64>) -> Option<Self> {
        Self::of(io::stdin().as_fd().try_clone_to_owned().ok()?, raw, count).ok()
    }

    fn of(input: OwnedFd, raw: bool, count: Option<u64>) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(BUFFER, WithoutWait(input.try_clone()?));
        // First, for nothing may be read of what the thread is to read: nobody is told when a file is ready.
        let ready = readable(input)?;
        match from.fill_buf() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        Ok(Self { ready, lines: LineSource::new("stdin", from, raw), wanted: count, is_over: false })
    }

    /// The next one. Safe to be cancelled.
    pub(super) async fn next(&mut self) -> Option<Outcome<Item>> {
        // Of lines that were read already the system tells no more.
        if let Some(item) = self.at_hand() {
            return Some(item);
        }
        while !self.is_over() {
            let mut ready = match self.ready.readable().await {
                Ok(ready) => ready,
                Err(error) => return Some(Err(self.lines.broken(&error))),
            };
            match self.lines.read() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                read => return self.note(read),
            }
        }
        None
    }

    /// The next one that was read already.
    pub(super) fn at_hand(&mut self) -> Option<Outcome<Item>> {
        if self.is_over() || !self.lines.reader().buffer().contains(&b'\n') {
            return None;
        }
        match self.lines.read() {
            // There were only empty lines.
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            read => self.note(read),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over || self.wanted == Some(0)
    }

    /// It ends with the input, and after an error.
    fn note(&mut self, read: io::Result<Option<Item>>) -> Option<Outcome<Item>> {
        let item = read.map_err(|error| self.lines.broken(&error)).transpose();
        match &item {
            Some(Ok(Item::Reading(_))) => self.wanted = self.wanted.map(|wanted| wanted - 1),
            Some(Ok(Item::Skipped(_))) => {}
            Some(Err(_)) | None => self.is_over = true,
        }
        item
    }
}

/// Reads what is there.
#[derive(Debug)]
struct WithoutWait(OwnedFd);

impl Read for WithoutWait {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // At its place, wherever that is.
        Ok(preadv2(&self.0, &mut [IoSliceMut::new(into)], u64::MAX, ReadWriteFlags::NOWAIT)?)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::File;
    use std::io::{PipeWriter, Write as _, pipe};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn direct(count: Option<u64>) -> Option<(PipeWriter, Direct)> {
        direct_with(b"", count)
    }

    /// A pipe with something in it. `None` on a kernel that cannot: there is nothing to test.
    fn direct_with(first: &[u8], count: Option<u64>) -> Option<(PipeWriter, Direct)> {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(first).unwrap();
        match Direct::of(reader.into(), false, count) {
            Ok(direct) => Some((writer, direct)),
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            Err(error) => unreachable!("{error}"),
        }
    }

    fn text(item: Option<Outcome<Item>>) -> Option<String> {
        item.map(|item| match item.unwrap() {
            Item::Reading(reading) => String::from_utf8(reading.payload).unwrap(),
            Item::Skipped(skipped) => skipped.to_string(),
        })
    }

    async fn next(direct: &mut Direct) -> Option<String> {
        text(timeout(Duration::from_secs(20), direct.next()).await.unwrap())
    }

    #[tokio::test]
    async fn lines_come_as_they_are_written() {
        let Some((mut writer, mut direct)) = direct(None) else { return };
        writer.write_all(b"1\n\n2\nx\n3").unwrap();
        assert_eq!(next(&mut direct).await.as_deref(), Some("1"));
        assert_eq!(text(direct.at_hand()).as_deref(), Some("2"));
        assert!(text(direct.at_hand()).unwrap().starts_with("stdin:4: not JSON"));
        assert_eq!(direct.at_hand().map(drop), None, "half a line");
        // Cancelled, it loses nothing of it; and it waits for the other half.
        assert!(timeout(Duration::from_millis(1), direct.next()).await.is_err());
        writer.write_all(b"4\n5").unwrap();
        assert_eq!(next(&mut direct).await.as_deref(), Some("34"));
        assert!(timeout(Duration::from_millis(1), direct.next()).await.is_err());
        drop(writer);
        assert_eq!(next(&mut direct).await.as_deref(), Some("5"));
        assert_eq!(next(&mut direct).await, None);
        assert_eq!(next(&mut direct).await, None);
    }

    #[tokio::test]
    async fn lines_that_were_there_before_it_come_at_once() {
        let Some((writer, mut direct)) = direct_with(b"1\n\n2\n3", None) else { return };
        assert_eq!(next(&mut direct).await.as_deref(), Some("1"));
        assert_eq!(next(&mut direct).await.as_deref(), Some("2"));
        assert!(timeout(Duration::from_millis(1), direct.next()).await.is_err());
        drop(writer);
        assert_eq!(next(&mut direct).await.as_deref(), Some("3"));
        assert_eq!(next(&mut direct).await, None);
    }

    #[tokio::test]
    async fn it_ends_with_the_last_reading_that_was_wanted() {
        let Some((mut writer, mut direct)) = direct(Some(2)) else { return };
        writer.write_all(b"1\nx\n2\n3\n").unwrap();
        assert_eq!(next(&mut direct).await.as_deref(), Some("1"));
        assert!(text(direct.at_hand()).unwrap().contains("not JSON"));
        assert_eq!(text(direct.at_hand()).as_deref(), Some("2"));
        assert_eq!(direct.at_hand().map(drop), None);
        assert_eq!(next(&mut direct).await, None);
    }

    #[tokio::test]
    async fn more_than_a_buffer_comes_whole_and_in_order() {
        let Some((mut writer, mut direct)) = direct(None) else { return };
        let count = 100_000;
        let writing = std::thread::spawn(move || (0..count).for_each(|n| writeln!(writer, "{n}").unwrap()));
        for n in 0..count {
            let line = match text(direct.at_hand()) {
                Some(line) => Some(line),
                None => next(&mut direct).await,
            };
            assert_eq!(line, Some(n.to_string()));
        }
        assert_eq!(next(&mut direct).await, None);
        writing.join().unwrap();
    }

    #[tokio::test]
    async fn a_file_is_left_to_the_thread_with_all_that_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("readings");
        std::fs::write(&path, "1\n2\n").unwrap();
        let mut file = File::open(path).unwrap();
        // It has the same place in the file.
        assert!(Direct::of(file.try_clone().unwrap().into(), false, None).is_err());
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "1\n2\n");
    }
}
