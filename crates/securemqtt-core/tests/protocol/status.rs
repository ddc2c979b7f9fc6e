//! What a person may ask of either side, as it changes.

use securemqtt_core::publisher;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::network::{Fate, Net, is, key, known, name};

/// A publisher that has pinned two subscribers, of which one is there.
fn pair_and_an_absent_one() -> Net {
    let (p, here, away) = (key(1), key(2), key(3));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("here", &here), ("away", &away)]));
    net.add_subscriber(&here, TrustMode::Strict, known(&[("pub", &p), ("other", &key(4))]), &["t/#"]);
    net.run(3_000);
    net
}

fn subscribers(net: &Net) -> Vec<(String, bool)> {
    let all = net.publishers[0].engine.subscribers();
    all.into_iter().map(|one| (one.name.to_string(), one.confirmed)).collect()
}

/// The publisher as the subscriber sees it.
fn silent(net: &Net) -> Option<bool> {
    let all = net.subscribers[0].engine.publishers();
    all.into_iter().find(|one| one.name == name("pub")).unwrap().silent
}

#[test]
fn pinned_peers_are_named_with_how_it_stands_with_them() {
    let mut net = pair_and_an_absent_one();
    assert_eq!(subscribers(&net), [("here".to_owned(), true), ("away".to_owned(), false)]);
    assert_eq!(net.publishers[0].engine.subscribers()[0].fingerprint, key(2).public().fingerprint());
    let publishers = net.subscribers[0].engine.publishers();
    let keyed: Vec<(String, bool)> = publishers.iter().map(|one| (one.name.to_string(), one.keyed)).collect();
    assert_eq!(keyed, [("pub".to_owned(), true), ("other".to_owned(), false)]);
    assert_eq!(publishers[0].fingerprint, key(1).public().fingerprint());

    net.revoke(0, "here");
    assert_eq!(subscribers(&net), [("away".to_owned(), false)]);
}

#[test]
fn a_rotation_names_its_stream_and_how_many_it_waits_for() {
    let mut net = pair_and_an_absent_one();
    assert_eq!(net.publishers[0].engine.rotating(), None);
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Hold } else { Fate::Deliver });
    net.rotate(0);
    let rotating = net.publishers[0].engine.rotating().unwrap();
    assert_eq!(rotating.waiting, 1);
    assert_ne!(rotating.stream, net.publishers[0].engine.stream());
    net.run(1_000);
    net.calm();
    assert_eq!(net.publishers[0].engine.rotating(), None);
    assert_eq!(net.publishers[0].engine.stream(), rotating.stream);
}

#[test]
fn a_publisher_is_silent_while_its_ticks_stay_away_and_not_after_its_end() {
    let mut net = pair_and_an_absent_one();
    assert_eq!(net.subscribers[0].engine.publishers()[1].silent, None);
    net.run(25_000);
    assert_eq!(silent(&net), Some(false));
    net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Drop } else { Fate::Deliver });
    net.run(60_000);
    assert_eq!(silent(&net), Some(true));
    net.adversary = None;
    net.run(11_000);
    assert_eq!(silent(&net), Some(false));
    let mut out = publisher::Output::default();
    net.publishers[0].engine.finish(net.now, &mut out);
    net.take_publisher(0, out);
    net.settle();
    assert_eq!(silent(&net), None);
}
