//! A socket that writes acknowledgements when its owner turns to reading, or has much to write.
//!
//! rumqttc flushes after every PUBACK. It reads only when it has nothing more to write, so what it has flushed until then
//! goes out in one system call. Publishes it flushes by the batch: these do not wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::moderated::{Answers, Moderated};

/// The type of a PUBLISH, in the upper half of the first byte (MQTT 5, section 2.1.2). Within TLS it does not show.
const PUBLISH: u8 = 3;
/// As much as is gathered.
const FULL: usize = 16 << 10;
/// An address that does not answer must not use up the time of the next.
const NEXT_ADDRESS: Duration = Duration::from_secs(2);

/// What the socket is told by its owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Cork {
    is_pulled: Arc<AtomicBool>,
    answers: Answers,
}

impl Cork {
    /// Ends the gathering, from now on every flush is one: the connection is about to be closed, and may not be read from
    /// again.
    pub(super) fn pull(&self) {
        self.is_pulled.store(true, Ordering::Release);
    }

    /// Whether acknowledgements are awaited.
    pub(super) fn await_answers(&self, are_awaited: bool) {
        self.answers.set_awaited(are_awaited);
    }

    /// Connects to the first address of a host that answers.
    pub(super) async fn connect(self, host: String, port: u16) -> io::Result<Corked<Moderated>> {
        let stream = connect(&host, port).await?;
        stream.set_nodelay(true)?;
        Ok(Corked {
            stream: Moderated::new(stream, self.answers.clone()),
            gathered: Vec::new(),
            written: 0,
            cork: self,
        })
    }

    fn is_pulled(&self) -> bool {
        self.is_pulled.load(Ordering::Acquire)
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?.peekable();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(address) = addresses.next() {
        let connecting = TcpStream::connect(address);
        let connected = if addresses.peek().is_none() {
            connecting.await
        } else {
            timeout(NEXT_ADDRESS, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The socket.
#[derive(Debug)]
pub(super) struct Corked<S> {
    stream: S,
    gathered: Vec<u8>,
    /// How much of it is out.
    written: usize,
    cork: Cork,
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    /// Writes what is gathered.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let rest = &self.gathered[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.gathered.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A peer that takes nothing may still have something to say.
        if let Poll::Ready(Err(error)) = self.poll_out(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= FULL {
            ready!(self.poll_out(context))?;
        }
        if bytes.len() >= FULL && self.gathered.is_empty() {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let may_wait = self.gathered.first().is_none_or(|first| first >> 4 != PUBLISH);
        if may_wait && !self.cork.is_pulled() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pair() -> (Corked<DuplexStream>, DuplexStream, Cork) {
        let (stream, peer) = duplex(1 << 20);
        let cork = Cork::default();
        (Corked { stream, gathered: Vec::new(), written: 0, cork: cork.clone() }, peer, cork)
    }

    async fn seen(peer: &mut DuplexStream) -> usize {
        let mut bytes = vec![0; 1 << 20];
        timeout(Duration::from_millis(10), peer.read(&mut bytes)).await.map_or(0, |read| read.unwrap())
    }

    #[tokio::test]
    async fn what_was_flushed_goes_out_with_the_next_read() {
        let (mut ours, mut peer, _) = pair();
        for _ in 0..3 {
            ours.write_all(b"\x40\x02\x00\x01").await.unwrap();
            ours.flush().await.unwrap();
        }
        assert_eq!(seen(&mut peer).await, 0);
        peer.write_all(b"x").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'x');
        assert_eq!(seen(&mut peer).await, 12);
    }

    #[tokio::test]
    async fn publishes_do_not_wait() {
        let (mut ours, mut peer, _) = pair();
        ours.write_all(b"\x32\x05").await.unwrap();
        ours.flush().await.unwrap();
        assert_eq!(seen(&mut peer).await, 2);
        ours.write_all(b"\x40\x02").await.unwrap();
        ours.flush().await.unwrap();
        assert_eq!(seen(&mut peer).await, 0);
    }

    #[tokio::test]
    async fn much_goes_out_at_once_and_without_a_cork_everything_does() {
        let (mut ours, mut peer, cork) = pair();
        ours.write_all(&vec![0; FULL - 1]).await.unwrap();
        ours.write_all(&[0]).await.unwrap();
        assert_eq!(seen(&mut peer).await, 0);
        ours.write_all(&[0]).await.unwrap();
        assert_eq!(seen(&mut peer).await, FULL);
        cork.pull();
        ours.flush().await.unwrap();
        assert_eq!(seen(&mut peer).await, 1);
    }
}
