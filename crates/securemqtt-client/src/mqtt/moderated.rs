//! A socket that is read by the clock while much arrives in small pieces.
//!
//! A broker writes each message by itself, and each write wakes a reader that sleeps: at QoS 0 that costs both sides more
//! than the message does. Network drivers have the same trouble and the same way out (Linux calls its own NAPI): woken by
//! each arrival while they are few, and by the clock, for all of them at once, while they are many.
//!
//! Not where an answer is awaited: acknowledgements come in small pieces too, and a full window moves on with them only.
//!
//! Either way what is read is acknowledged as it is read (TCP_QUICKACK, tcp(7)). A broker that does not set TCP_NODELAY, which
//! Mosquitto does when told only, holds a message until the one before is acknowledged; and the kernel of who writes now and
//! then keeps its acknowledgements for what is written next, 40 ms or until the PUBACK that waits for our disk.

use std::future::Future as _;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long what arrives waits for the clock, whose ticks are milliseconds: up to two of them.
const PAUSE: Duration = Duration::from_millis(1);
/// So many reads within a pause, and nothing written, are many.
const MANY: usize = 4;
/// Unless they brought more bytes: these are worth a wake each.
const SMALL: usize = 16 << 10;
/// More than this in a pause might fill the socket's buffer, and hold up the other side.
const TOO_MUCH: usize = 64 << 10;

/// Whether the socket's owner awaits answers: what arrives is read at once then.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<AtomicBool>);

impl Answers {
    pub(super) fn set_awaited(&self, are_awaited: bool) {
        self.0.store(are_awaited, Ordering::Relaxed);
    }

    fn are_awaited(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Moderated {
    socket: Socket,
    rate: Rate,
    answers: Answers,
    /// Since the last read: the kernel keeps acknowledgements for what is written next, until it is told again.
    wrote: bool,
}

#[derive(Debug)]
enum Socket {
    /// An arrival wakes us.
    Watched(TcpStream),
    /// The clock does; the runtime knows nothing of the socket.
    Polled(Polled),
    /// On its way from one to the other: for good where that failed.
    Gone,
}

impl Moderated {
    pub(super) fn new(stream: TcpStream, answers: Answers) -> Self {
        Self { socket: Socket::Watched(stream), rate: Rate::default(), answers, wrote: false }
    }

    /// Leaves the socket to the clock, until one of its ticks brings fewer bytes than `enough`, or too many.
    fn poll_by_clock(&mut self, enough: usize) -> io::Result<()> {
        let stream = match std::mem::replace(&mut self.socket, Socket::Gone) {
            Socket::Watched(stream) => stream.into_std()?,
            Socket::Polled(polled) => polled.stream,
            Socket::Gone => return Err(io::ErrorKind::NotConnected.into()),
        };
        let tick = Box::pin(sleep(PAUSE));
        self.socket = Socket::Polled(Polled { stream, tick, is_empty: true, brought: enough, enough });
        Ok(())
    }

    /// The socket, watched by the runtime from now on.
    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.socket = match std::mem::replace(&mut self.socket, Socket::Gone) {
            Socket::Polled(polled) => Socket::Watched(TcpStream::from_std(polled.stream)?),
            socket => socket,
        };
        match &mut self.socket {
            Socket::Watched(stream) => Ok(Pin::new(stream)),
            Socket::Polled(_) | Socket::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Moderated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Socket::Polled(polled) = &mut self.socket
            && let Some(read) = ready!(polled.poll_read(context, buffer))
        {
            return Poll::Ready(read);
        }
        let before = buffer.filled().len();
        let wrote = self.wrote;
        let mut stream = self.watched()?;
        ready!(stream.as_mut().poll_read(context, buffer))?;
        if wrote {
            acknowledge_at_once(&stream);
        }
        self.wrote = false;
        let read = buffer.filled().len() - before;
        if !self.answers.are_awaited()
            && let Some(brought) = self.rate.is_high(read, Instant::now)
        {
            self.poll_by_clock(brought)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Who writes is in a conversation, and does not wait for the clock.
impl AsyncWrite for Moderated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        (self.rate, self.wrote) = (Rate::default(), true);
        self.watched()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_shutdown(context)
    }
}

/// Acknowledges what was read, and from now on what is, until something is written.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_at_once(stream: &TcpStream) {
    // Refused, it is slower and nothing else.
    let _ = stream.set_quickack(true);
}

/// Other systems have no such option.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_at_once(_: &TcpStream) {}

/// A socket in the care of the clock.
#[derive(Debug)]
struct Polled {
    stream: std::net::TcpStream,
    tick: Pin<Box<Sleep>>,
    /// Everything that the last tick found is read.
    is_empty: bool,
    /// Bytes that the last tick has brought, and how many are worth another.
    brought: usize,
    enough: usize,
}

impl Polled {
    /// Reads what the last tick found, or at the next one. `None` when ticks are no longer worth it.
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Option<io::Result<()>>> {
        loop {
            if self.is_empty {
                if !(self.enough..=TOO_MUCH).contains(&self.brought) {
                    return Poll::Ready(None);
                }
                ready!(self.tick.as_mut().poll(context));
                self.tick.as_mut().reset(Instant::now() + PAUSE);
                (self.is_empty, self.brought) = (false, 0);
            }
            let room = buffer.initialize_unfilled();
            match self.stream.read(room) {
                Ok(read) => {
                    self.is_empty = read < room.len();
                    self.brought += read;
                    buffer.advance(read);
                    return Poll::Ready(Some(Ok(())));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_empty = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

/// Counts small reads that follow each other.
#[derive(Debug, Default)]
struct Rate {
    reads: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Rate {
    /// Takes note of a read. The bytes of the last reads, once many came within a pause.
    fn is_high(&mut self, read: usize, now: impl FnOnce() -> Instant) -> Option<usize> {
        self.reads += 1;
        self.bytes += read;
        if self.since.is_some() && self.reads < MANY {
            return None;
        }
        // One reading of the clock for so many.
        let now = now();
        let is_high = self.since.is_some_and(|since| now - since < PAUSE) && self.bytes <= SMALL;
        let bytes = self.bytes;
        *self = Self { since: Some(now), ..Self::default() };
        is_high.then_some(bytes)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (Moderated, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Moderated::new(ours, Answers::default()), theirs)
    }

    fn is_polled(ours: &Moderated) -> bool {
        matches!(ours.socket, Socket::Polled(_))
    }

    #[test]
    fn many_small_reads_within_a_pause_are_a_high_rate() {
        let start = Instant::now();
        let reads = |bytes: usize, apart: Duration| {
            let mut rate = Rate::default();
            (0..).zip(0..=MANY).find_map(|(n, _)| rate.is_high(bytes, || start + n * apart))
        };
        let fast = Duration::from_micros(240);
        assert_eq!(reads(100, fast), Some(400));
        assert_eq!(reads(100, Duration::from_micros(250)), None, "fewer than four in a millisecond");
        assert_eq!(reads(5_000, fast), None, "pieces that are worth a wake each");
    }

    #[tokio::test]
    async fn by_the_clock_everything_comes_in_its_order_and_a_low_rate_ends_it() {
        let (mut ours, mut theirs) = pair().await;
        ours.poll_by_clock(100).unwrap();
        let sent = (0..200_u8).collect::<Vec<_>>();
        theirs.write_all(&sent).await.unwrap();
        let mut got = vec![0; 7];
        ours.read_exact(&mut got).await.unwrap();
        assert!(is_polled(&ours));
        let mut rest = vec![0; sent.len() - got.len()];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!([got, rest].concat(), sent);
        // A tick that brings nothing.
        for _ in 0..1_000 {
            if is_polled(&ours) {
                timeout(PAUSE, ours.read_u8()).await.unwrap_err();
            }
        }
        assert!(!is_polled(&ours));
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn by_the_clock_the_end_is_seen_and_a_write_waits_for_nothing() {
        let (mut ours, mut theirs) = pair().await;
        ours.poll_by_clock(1).unwrap();
        ours.write_all(b"ping").await.unwrap();
        assert!(!is_polled(&ours));
        let mut got = [0; 4];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
        ours.poll_by_clock(1).unwrap();
        theirs.write_all(b"last").await.unwrap();
        drop(theirs);
        let mut got = Vec::new();
        ours.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
    }

    /// Without it the kernel has kept its acknowledgements after the first of these answers.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn what_is_read_is_acknowledged_at_once_whatever_was_written() {
        let (mut ours, mut theirs) = pair().await;
        for _ in 0..10 {
            theirs.write_all(b"reading").await.unwrap();
            ours.read_exact(&mut [0; 7]).await.unwrap();
            assert!(ours.watched().unwrap().quickack().unwrap());
            ours.write_all(b"puback").await.unwrap();
            theirs.read_exact(&mut [0; 6]).await.unwrap();
        }
    }

    /// Bytes that come one by one, each read as it comes.
    async fn trickle(ours: &mut Moderated, theirs: &mut TcpStream, bytes: usize) {
        for _ in 0..bytes {
            theirs.write_all(b"x").await.unwrap();
            ours.read_u8().await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_awaited_does_not_wait_for_the_clock() {
        let (mut ours, mut theirs) = pair().await;
        ours.answers.set_awaited(true);
        trickle(&mut ours, &mut theirs, 1_000).await;
        assert!(!is_polled(&ours));
        ours.answers.set_awaited(false);
        // On a machine that is busy a pause may pass within any four of them.
        for _ in 0..10_000 {
            if !is_polled(&ours) {
                trickle(&mut ours, &mut theirs, 1).await;
            }
        }
        assert!(is_polled(&ours), "as many within a pause are a high rate else");
    }

    #[tokio::test]
    async fn a_tick_that_brings_too_much_is_the_last() {
        let (mut ours, mut theirs) = pair().await;
        for (len, stays) in [(TOO_MUCH, true), (TOO_MUCH + 1, false)] {
            ours.poll_by_clock(1).unwrap();
            theirs.write_all(&vec![0; len]).await.unwrap();
            ours.read_exact(&mut vec![0; len]).await.unwrap();
            let mut more = [0];
            let mut more = ReadBuf::new(&mut more);
            let read = std::future::poll_fn(|context| {
                Poll::Ready(Pin::new(&mut ours).poll_read(context, &mut more).is_ready())
            });
            assert!(!read.await, "there is nothing more");
            assert_eq!(is_polled(&ours), stays, "{len} bytes");
        }
    }
}
