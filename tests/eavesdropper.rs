//! A client without any key, as everyone with an account on the broker can run one: it hears everything and may publish
//! anything.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rumqttc_v5::{
    Client, Connection, Event, MqttOptions, NetworkOptions, Outgoing, Packet, Publish, PublishOptions, QoS,
    SubscribeFilter, TlsConfiguration, Transport,
};

use crate::broker::{Broker, HOST};
use crate::tls::{Authority, Files};

/// Longer than connecting takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Before the next attempt while the broker is down.
const RETRY: Duration = Duration::from_millis(50);

/// One message as it crossed the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// As its sender set it, or true for one that the broker had kept.
    pub(crate) retain: bool,
}

impl Heard {
    /// The last level of a control topic tells its kind (`hello`, `tick`, `in`), or the one before (`to`, `keys`).
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.topic.starts_with("securemqtt/v1/") && self.topic.split('/').nth(3) == Some(kind)
    }

    /// Whether these bytes occur in the topic or the payload.
    pub(crate) fn contains(&self, bytes: &[u8]) -> bool {
        let occurs = |within: &[u8]| within.windows(bytes.len()).any(|window| window == bytes);
        occurs(self.topic.as_bytes()) || occurs(&self.payload)
    }
}

/// Subscribed to `#` from [`Self::listen`] on; disconnects when dropped. It reconnects after a restart of the broker.
pub(crate) struct Eavesdropper {
    client: Client,
    heard: Arc<(Mutex<Vec<Heard>>, Condvar)>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Eavesdropper {
    /// Returns when the broker has confirmed the subscription.
    pub(crate) fn listen(broker: &Broker) -> Self {
        Self::with_options(options(broker.port()))
    }

    /// With an account on the plain listener.
    pub(crate) fn listen_as(broker: &Broker, user: &str, password: &str) -> Self {
        let mut options = options(broker.port());
        options.set_credentials(user, password.to_owned());
        Self::with_options(options)
    }

    /// Over the TLS listener, with or without a client certificate.
    pub(crate) fn listen_over_tls(broker: &Broker, authority: &Authority, client: Option<&Files>) -> Self {
        let read = |path| std::fs::read(path).unwrap();
        let mut options = options(broker.tls_port());
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca: read(authority.certificate()),
            alpn: None,
            client_auth: client.map(|files| (read(&files.certificate), read(&files.key))),
        }));
        Self::with_options(options)
    }

    /// Panics if the broker refuses.
    pub(crate) fn with_options(options: MqttOptions) -> Self {
        Self::join(options, |_| {}).unwrap_or_else(|error| panic!("the eavesdropper was refused: {error}"))
    }

    /// Calls `on_message` for each message it has heard; its own are not among them.
    pub(crate) fn join(options: MqttOptions, on_message: impl FnMut(&Heard) + Send + 'static) -> Result<Self, String> {
        let (client, connection) = Client::builder(options).unbounded().build();
        let heard = Arc::default();
        let leaving = Arc::default();
        let (subscribed, ready) = mpsc::channel();
        let listener = Listener {
            client: client.clone(),
            heard: Arc::clone(&heard),
            leaving: Arc::clone(&leaving),
            subscribed,
            on_message,
        };
        let eavesdropper =
            Self { client, heard, leaving, thread: Some(thread::spawn(move || listener.run(connection))) };
        match ready.recv_timeout(PATIENCE) {
            Ok(Ok(())) => Ok(eavesdropper),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// For a callback that publishes.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        publish(&self.client, topic, payload, retain);
    }

    /// Everything so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.0.lock().unwrap().clone()
    }

    /// The first message, however old, that `matches`; panics with the topics of all that it heard if none comes.
    pub(crate) fn wait_for(&self, matches: impl Fn(&Heard) -> bool, timeout: Duration) -> Heard {
        self.wait_for_count(1, matches, timeout).remove(0)
    }

    /// The first `count` such messages.
    pub(crate) fn wait_for_count(
        &self,
        count: usize,
        matches: impl Fn(&Heard) -> bool,
        timeout: Duration,
    ) -> Vec<Heard> {
        let deadline = Instant::now() + timeout;
        let mut heard = self.heard.0.lock().unwrap();
        loop {
            let found: Vec<&Heard> = heard.iter().filter(|message| matches(message)).take(count).collect();
            if found.len() == count {
                return found.into_iter().cloned().collect();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let topics: BTreeSet<&str> = heard.iter().map(|message| message.topic.as_str()).collect();
                panic!("{} of {count} awaited messages came; it heard {} on {topics:?}", found.len(), heard.len());
            }
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}

impl Drop for Eavesdropper {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::SeqCst);
        // Fails only where the listener has ended by itself.
        let _ = self.client.try_disconnect_now();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Options for a plain connection to a port, without the packet limit that a big message would trip over.
pub(crate) fn options(port: u16) -> MqttOptions {
    /// A client id of its own for each: a second client with the same one would take over the first one's place.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("eavesdropper-{}", COUNT.fetch_add(1, Ordering::SeqCst));
    let mut options = MqttOptions::new(id, (HOST, port));
    options.set_unlimited_incoming_packet_size();
    // Acknowledgements that wait for each other keep it behind everybody else.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}

/// QoS 1, from any thread.
pub(crate) fn publish(client: &Client, topic: &str, payload: &[u8], retain: bool) {
    let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
    client.try_publish(topic, payload.to_vec(), options).unwrap();
}

/// The half on the thread.
struct Listener<F> {
    client: Client,
    heard: Arc<(Mutex<Vec<Heard>>, Condvar)>,
    leaving: Arc<AtomicBool>,
    subscribed: mpsc::Sender<Result<(), String>>,
    on_message: F,
}

impl<F: FnMut(&Heard)> Listener<F> {
    fn run(mut self, mut connection: Connection) {
        let mut was_ready = false;
        while let Ok(event) = connection.recv() {
            match event {
                // Sent again after each reconnect: the session is a clean one.
                Ok(Event::Incoming(Packet::ConnAck(_))) => self.subscribe(),
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    was_ready = true;
                    let _ = self.subscribed.send(Ok(()));
                }
                Ok(Event::Incoming(Packet::Publish(message))) => self.record(&message),
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(_) => {}
                Err(_) if self.leaving.load(Ordering::SeqCst) => return,
                Err(error) if !was_ready => {
                    let _ = self.subscribed.send(Err(error.to_string()));
                    return;
                }
                Err(_) => thread::sleep(RETRY),
            }
        }
    }

    fn subscribe(&self) {
        let everything =
            SubscribeFilter { nolocal: true, preserve_retain: true, ..SubscribeFilter::new("#", QoS::AtLeastOnce) };
        self.client.try_subscribe_many([everything]).unwrap();
    }

    fn record(&mut self, message: &Publish) {
        let heard = Heard {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retain: message.retain,
        };
        (self.on_message)(&heard);
        self.heard.0.lock().unwrap().push(heard);
        self.heard.1.notify_all();
    }
}
