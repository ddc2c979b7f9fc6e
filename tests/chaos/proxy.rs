//! The network between one program and the broker: a TCP proxy that can be cut and stalled. Its port stays, so that a
//! broker that restarts is found again.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::broker::HOST;

/// Passes everything on until it is dropped.
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stalled: bool,
    closed: bool,
    accepted: u64,
    /// Both ends of each connection.
    links: HashMap<u64, [TcpStream; 2]>,
}

impl Proxy {
    /// In front of the port of a broker.
    pub(super) fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let proxy = Self { port, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.lock().closed {
                    return;
                }
                Shared::join(&shared, client, upstream);
            }
        });
        proxy
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections; new ones are taken at once.
    pub(super) fn cut(&self) {
        self.shared.lock().cut();
    }

    /// Connections stay, and new ones are taken, but nothing passes.
    pub(super) fn stall(&self) {
        self.shared.lock().stalled = true;
    }

    /// What waited passes.
    pub(super) fn resume(&self) {
        self.shared.lock().stalled = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        // The listener looks up when somebody comes.
        let _ = TcpStream::connect((HOST, self.port));
    }
}

impl State {
    fn cut(&mut self) {
        for end in self.links.drain().flat_map(|(_, ends)| ends) {
            // Fails only where the other side has gone already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A broker that is down ends the client's connection.
    fn join(shared: &Arc<Self>, client: TcpStream, upstream: u16) {
        let Ok(server) = TcpStream::connect((HOST, upstream)) else { return };
        for end in [&client, &server] {
            let _ = end.set_nodelay(true);
        }
        let mut state = shared.lock();
        state.accepted += 1;
        let number = state.accepted;
        let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        state.links.insert(number, ends);
        drop(state);
        let [there, back] = [(); 2].map(|()| Arc::clone(shared));
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || there.pass(number, from, to));
        thread::spawn(move || back.pass(number, server, client));
    }

    fn pass(&self, number: u64, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            drop(self.changed.wait_while(self.lock(), |state| state.stalled && !state.closed).unwrap());
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(Shutdown::Both);
        }
        self.lock().links.remove(&number);
    }
}

mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::{HOST, Proxy};

    fn pair(listener: &TcpListener, proxy: &Proxy) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect((HOST, proxy.port())).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn heard(stream: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        (stream.read(&mut byte).ok()? == 1).then_some(byte[0])
    }

    #[test]
    fn the_network_passes_on_stalls_and_is_cut() {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap().port());
        let (mut client, mut server) = pair(&listener, &proxy);
        client.write_all(b"a").unwrap();
        assert_eq!(heard(&mut server), Some(b'a'));
        proxy.stall();
        server.write_all(b"b").unwrap();
        assert_eq!(heard(&mut client), None);
        proxy.resume();
        assert_eq!(heard(&mut client), Some(b'b'));
        proxy.cut();
        assert_eq!(server.read(&mut [0]).unwrap_or(0), 0, "it is still connected");
        let (mut client, mut server) = pair(&listener, &proxy);
        server.write_all(b"c").unwrap();
        assert_eq!(heard(&mut client), Some(b'c'));
    }
}
