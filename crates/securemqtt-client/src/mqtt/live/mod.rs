//! One connection at work: the driver moves publishes, subscriptions and acknowledgements in and reports out.

mod intake;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use securemqtt_core::Qos;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::connection::{self, Limits, PacketId, Poller, Received, Report, Sender};
use super::driver::Driver;
use super::driver::telling::deliver;
use super::error::LinkError;
use super::events::{AckToken, LinkEvent, MAX_QUEUED_BYTES, Message, Topic};
use super::window::Window;
use crate::turn::give_way;

/// How long a clean DISCONNECT may take, and how long of that may wait for acknowledgements.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(4);
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Publishes taken from the channel at once.
pub(super) const TAKE: usize = 256;

/// Messages at once that are no flood. In a flood the link goes on: how often it reads is what a flood costs.
const FEW: usize = 8;

/// How a connection ended.
pub(super) enum Ending {
    /// We were told to stop.
    Stopped,
    Lost(LinkError),
}

/// What belongs to one connection.
struct Live {
    sender: Sender,
    connected: Option<Instant>,
    limits: Limits,
    window: Window,
    /// Subscriptions with rumqttc, then those the broker has yet to answer.
    subscribing: VecDeque<Vec<String>>,
    subscribed: Vec<(PacketId, Vec<String>)>,
    closing: bool,
}

impl Live {
    /// Publishes wait for the subscriptions asked for before them.
    fn may_publish(&self) -> bool {
        self.connected.is_some() && self.subscribing.is_empty() && !self.closing
    }
}

impl Driver {
    /// One connection, from the first byte to the last, and how long the broker had accepted it.
    pub(super) async fn connection(&mut self) -> (Ending, Option<Duration>) {
        let (sender, mut poller) = match connection::open(&self.options, self.tls.as_ref()) {
            Ok(halves) => halves,
            Err(error) => return (Ending::Lost(error), None),
        };
        self.connections += 1;
        let mut live = Live {
            sender,
            connected: None,
            limits: Limits::default(),
            window: Window::new(self.options.in_flight),
            subscribing: VecDeque::new(),
            subscribed: Vec::new(),
            closing: false,
        };
        let ending = self.serve(&mut live, &mut poller).await;
        (ending, live.connected.map(|since| since.elapsed()))
    }

    /// Moves work in and reports out until the connection ends.
    async fn serve(&mut self, live: &mut Live, poller: &mut Poller) -> Ending {
        let options = self.options.clone();
        let mut deadline = pin!(sleep(Duration::MAX));
        loop {
            self.tell_done();
            let report = {
                // Dropped half-way, a poll could lose what it had already read: it is kept until it is done.
                let mut poll = pin!(poller.next(&options));
                loop {
                    let may_read = self.may_read(live);
                    tokio::select! {
                        biased;
                        command = self.commands.recv(), if !live.closing => {
                            if self.take_commands(command, live).is_stop() {
                                if live.connected.is_none() {
                                    return Ending::Stopped;
                                }
                                self.close(live);
                                deadline.as_mut().reset(Instant::now() + DISCONNECT_WITHIN);
                            }
                        }
                        listening = deliver(&self.news, &mut self.backlog), if !self.backlog.is_empty() && !live.closing => {
                            if !listening {
                                return Ending::Stopped;
                            }
                        }
                        taken = self.publishes.recv_many(&mut self.taken, TAKE), if live.may_publish() => {
                            if taken > 0 && self.take_publishes(live).is_stop() {
                                self.close(live);
                                deadline.as_mut().reset(Instant::now() + DISCONNECT_WITHIN);
                            }
                            self.tell_done();
                        }
                        report = &mut poll, if may_read => break report,
                        () = self.shared.room.notified(), if !may_read => {}
                        () = &mut deadline, if live.closing => return Ending::Stopped,
                    }
                }
            };
            match report {
                Ok(Report::Closed) => return Ending::Stopped,
                Ok(report) => {
                    self.report(report, live);
                    while self.has_room()
                        && let Some(report) = poller.ready()
                    {
                        self.report(report, live);
                    }
                    let told = self.tell_arrived();
                    self.hand_over(live);
                    if (1..=FEW).contains(&told) {
                        // They are waited for; that there is nothing more to read can wait.
                        give_way().await;
                    }
                }
                Err(_) if live.closing => return Ending::Stopped,
                Err(error) => return Ending::Lost(error),
            }
        }
    }

    /// Whether to read on: there is room for what arrives, or someone waits for what lies behind it.
    ///
    /// A driver that awaits room to publish does not take events meanwhile; if both sides waited, nothing would move.
    fn may_read(&self, live: &Live) -> bool {
        let someone_waits =
            self.shared.window.available_permits() == 0 || self.shared.waiting.load(Ordering::Acquire) > 0;
        self.has_room() || someone_waits || !live.may_publish()
    }

    fn has_room(&self) -> bool {
        self.backlog.is_empty() && self.shared.queued_bytes.load(Ordering::Acquire) <= MAX_QUEUED_BYTES
    }

    fn report(&mut self, report: Report, live: &mut Live) {
        match report {
            Report::Connected { session_present, limits } => self.connected(session_present, limits, live),
            Report::Sent(id) => {
                if let Some(ticket) = self.outbox.sent(id) {
                    self.done(ticket);
                }
            }
            Report::Acknowledged { id, refused } => {
                if let Some(publish) = self.outbox.acknowledged(id) {
                    match refused {
                        None => self.done(publish.ticket),
                        Some(reason) => self.refused(publish, reason),
                    }
                }
            }
            Report::SubscribeSent(id) => {
                if let Some(filters) = live.subscribing.pop_front() {
                    live.subscribed.push((id, filters));
                }
                self.hand_over(live);
            }
            Report::Subscribed { id, refusals } => self.subscribed(id, refusals, live),
            Report::Received(received) => self.received(received, live),
            Report::Closed => {}
        }
    }

    fn connected(&mut self, session_present: bool, limits: Limits, live: &mut Live) {
        debug!(broker = %self.options.address, session_present, "connected");
        live.connected = Some(Instant::now());
        live.limits = limits;
        live.window = Window::new(self.options.in_flight.min(limits.receive_maximum));
        self.shared.max_packet_size.store(limits.max_packet_size, Ordering::Relaxed);
        self.emit(LinkEvent::Connected { session_present });
        for filters in std::mem::take(&mut self.asked) {
            self.subscribe(filters, live);
        }
        self.hand_over(live);
    }

    fn subscribed(&mut self, id: PacketId, refusals: Vec<Option<String>>, live: &mut Live) {
        let Some(place) = live.subscribed.iter().position(|(sent, _)| *sent == id) else { return };
        let (_, filters) = live.subscribed.swap_remove(place);
        let mut granted = Vec::with_capacity(filters.len());
        for (filter, refusal) in filters.into_iter().zip(refusals) {
            match refusal {
                None => granted.push(filter),
                Some(reason) => self.emit(LinkEvent::SubscriptionRefused { filter, reason }),
            }
        }
        if !granted.is_empty() {
            self.emit(LinkEvent::Subscribed { filters: granted });
        }
    }

    fn received(&mut self, received: Received, live: &Live) {
        if self.news.is_closed() {
            return;
        }
        let Received { topic, payload, qos, retain, dup, id } = received;
        let Some(topic) = Topic::new(topic) else {
            warn!("dropped a message whose topic is not UTF-8");
            if qos == Qos::AtLeastOnce {
                live.sender.acknowledge(id);
            }
            return;
        };
        if !self.has_room() {
            self.dropped += 1;
            warn!(topic = &*topic, dropped = self.dropped, "dropped a message: too many wait to be processed");
            return;
        }
        let ack = AckToken { connection: self.connections, id };
        let message = Message { topic, payload, qos, retain, dup, ack };
        self.shared.queued_bytes.fetch_add(message.queued_size(), Ordering::AcqRel);
        self.arrived.push(message);
    }

    /// DISCONNECT, after the acknowledgements under way; publishes that nobody waited for are not worth a delay.
    fn close(&mut self, live: &mut Live) {
        live.closing = true;
        live.sender.disconnect(self.outbox.is_empty().then_some(DISCONNECT_PATIENCE));
    }
}
