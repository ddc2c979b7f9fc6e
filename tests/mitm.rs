//! A man in the middle, in the strongest place there is: each side has a broker of its own, and nothing passes from one
//! to the other but through the attacker.

use std::sync::{Arc, Mutex};

use rumqttc_v5::Client;

use crate::broker::Broker;
use crate::eavesdropper::{Eavesdropper, Heard, options, publish};

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The first broker.
    Left,
    /// The second.
    Right,
}

/// What the attacker sends on, and to which side.
pub(crate) struct Forwarded {
    pub(crate) message: Heard,
    /// `false` sends it on; `true` back to the side it came from.
    pub(crate) back: bool,
}

impl Forwarded {
    /// To the other side, as a bridge would.
    pub(crate) fn on(message: Heard) -> Self {
        Self { message, back: false }
    }

    /// To where it came from.
    pub(crate) fn back(message: Heard) -> Self {
        Self { message, back: true }
    }
}

/// Stands between two brokers until it is dropped.
pub(crate) struct Mitm {
    left: Eavesdropper,
    right: Eavesdropper,
}

impl Mitm {
    /// `tamper` says what becomes of each message: nothing, itself, something else, several.
    pub(crate) fn between(
        left: &Broker,
        right: &Broker,
        tamper: impl FnMut(From, &Heard) -> Vec<Forwarded> + Send + 'static,
    ) -> Self {
        let tamper = Arc::new(Mutex::new(tamper));
        let clients: Arc<Mutex<[Option<Client>; 2]>> = Arc::default();
        // What arrives before both sides are connected waits here, or a retained hello would be lost.
        let early: Arc<Mutex<Vec<(From, Heard)>>> = Arc::default();
        let pass = {
            let (clients, early) = (Arc::clone(&clients), Arc::clone(&early));
            move |from, heard: &Heard| {
                let clients = clients.lock().unwrap();
                let [Some(left), Some(right)] = &*clients else {
                    early.lock().unwrap().push((from, heard.clone()));
                    return;
                };
                for forwarded in (tamper.lock().unwrap())(from, heard) {
                    let to_left = (from == From::Left) == forwarded.back;
                    let message = forwarded.message;
                    let client = if to_left { left } else { right };
                    publish(client, &message.topic, &message.payload, message.retain);
                }
            }
        };
        let join = |from, broker: &Broker| {
            let pass = pass.clone();
            Eavesdropper::join(options(broker.port()), move |heard| pass(from, heard)).unwrap()
        };
        let mitm = Self { left: join(From::Left, left), right: join(From::Right, right) };
        *clients.lock().unwrap() = [Some(mitm.left.client()), Some(mitm.right.client())];
        for (from, heard) in std::mem::take(&mut *early.lock().unwrap()) {
            pass(from, &heard);
        }
        mitm
    }

    /// What the publisher's or subscriber's side said on the first broker.
    pub(crate) fn heard_left(&self) -> Vec<Heard> {
        self.left.heard()
    }

    /// The same on the second.
    pub(crate) fn heard_right(&self) -> Vec<Heard> {
        self.right.heard()
    }
}
