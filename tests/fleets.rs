use std::collections::HashSet;

use securemqtt_core::wire::{FrameHeader, Kind, MAX_FRAME_OVERHEAD};

use crate::broker::Broker;
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::parties::{EXCHANGED, KEYED, Party, RAW, introduce, introduced, reading, readings};
use crate::process::{PATIENCE, Running};

const EACH: usize = 40;

/// Three of each, everybody knowing everybody of the other kind.
fn fleet() -> ([Party; 3], [Party; 3]) {
    let publishers = ["p1", "p2", "p3"].map(Party::publisher);
    let subscribers = ["s1", "s2", "s3"].map(Party::subscriber);
    for publisher in &publishers {
        for subscriber in &subscribers {
            introduce(publisher, subscriber);
        }
    }
    (publishers, subscribers)
}

/// All frames on the way to `topic`, in the order in which the broker had them.
fn frames(heard: &[Heard], topic: &str) -> Vec<Heard> {
    heard.iter().filter(|heard| heard.topic == topic).cloned().collect()
}

#[test]
fn everybody_reads_everybody_and_each_reading_is_sealed_once() {
    let broker = Broker::start();
    let eavesdropper = Eavesdropper::listen(&broker);
    let (publishers, subscribers) = fleet();
    let count = (3 * EACH).to_string();
    let mut reading_on = subscribers.map(|party| {
        let running = party.at(&broker).args(["-F", "%n %p", "-C", &count]).start();
        running.wait_for("Connected to broker");
        running
    });
    let mut publishing: [Running; 3] =
        publishers.each_ref().map(|party| party.at(&broker).args(["-l"]).open_input().start());
    for running in &reading_on {
        running.wait_for_lines(3, |line| line.contains(KEYED), PATIENCE);
    }
    for number in 0..EACH {
        for running in &mut publishing {
            running.type_line(&reading(number));
        }
    }
    for running in &mut reading_on {
        assert_eq!(running.wait_exit(PATIENCE), 0);
        for party in &publishers {
            let of_party: Vec<String> = running
                .stdout()
                .iter()
                .filter_map(|line| Some(line.strip_prefix(&party.name)?.trim().to_owned()))
                .collect();
            assert_eq!(of_party, readings(0..EACH));
        }
    }
    for running in &mut publishing {
        running.wait_for_lines(3, |line| line.contains(EXCHANGED), PATIENCE);
        running.close_input();
        assert_eq!(running.wait_exit(PATIENCE), 0);
    }
    eavesdropper.wait_for_count(EACH * publishers.len(), |heard| heard.topic.starts_with("telemetry/"), PATIENCE);
    let heard = eavesdropper.heard();
    for party in &publishers {
        // As many as there are readings, whatever the number of those who read them.
        let frames = frames(&heard, &format!("telemetry/{}", party.name));
        assert_eq!(frames.len(), EACH);
        for (number, frame) in frames.iter().enumerate() {
            is_frame_of(&frame.payload, number);
        }
        let runs: HashSet<&[u8]> = frames.iter().map(|frame| &frame.payload[1..6]).collect();
        assert_eq!(runs.len(), 1, "one process start is one run");
    }
}

/// A frame with this number, no larger than the protocol promises.
fn is_frame_of(payload: &[u8], number: usize) {
    let (header, ..) = FrameHeader::decode(payload).unwrap();
    assert_eq!((header.kind, usize::try_from(header.seq).unwrap()), (Kind::Frame, number));
    assert!(payload.len() <= reading(number).len() + MAX_FRAME_OVERHEAD, "{} bytes", payload.len());
}

#[test]
fn five_thousand_readings_arrive_complete_and_in_order() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let lines = readings(0..5_000);
    let mut reading_on = subscriber.at(&broker).args(RAW).args(["-C", "5000"]).start();
    let mut publishing = publisher.at(&broker).args(["-l"]).input(&lines.join("\n")).start();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.stdout(), lines);
}

#[test]
fn the_ratchet_and_the_stream_change_under_way_and_nobody_notices() {
    let broker = Broker::start();
    let eavesdropper = Eavesdropper::listen(&broker);
    let (publisher, subscriber) = introduced();
    let often = ["--ratchet-every", "10", "--rotate-every", "500ms", "--interval", "5ms"];
    let lines = readings(0..400);
    let mut reading_on = subscriber.at(&broker).args(["-F", "%p", "-C", "400"]).start();
    let publisher = publisher.at(&broker).args(often).args(["-l"]);
    let mut publishing = publisher.input(&lines.join("\n")).start();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.stdout(), lines);
    let frames = frames(&eavesdropper.heard(), "telemetry/ward-7");
    let generations: HashSet<u8> = frames.iter().map(|frame| frame.payload[6]).collect();
    assert!(generations.len() > 5, "{generations:?}");
    let keys = eavesdropper.heard().into_iter().filter(|heard| heard.is("keys")).map(|heard| heard.payload);
    assert!(keys.collect::<HashSet<_>>().len() > 2, "the stream was not rotated");
}

#[test]
fn gathered_readings_share_a_message_and_stay_apart() {
    let broker = Broker::start();
    let eavesdropper = Eavesdropper::listen(&broker);
    let (publisher, subscriber) = introduced();
    let lines = readings(0..500);
    let mut reading_on = subscriber.at(&broker).args(RAW).args(["-C", "500"]).start();
    let publisher = publisher.at(&broker).args(["-l", "--linger", "100ms"]);
    let mut publishing = publisher.input(&lines.join("\n")).start();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.stdout(), lines);
    let messages = frames(&eavesdropper.heard(), "telemetry/ward-7").len();
    assert!(messages < 100, "{messages} messages for 500 readings");
}
