use crate::network::Net;

/// A pair that has its key, and frames of six readings that were not published.
fn sealed() -> (Net, Vec<Vec<u8>>) {
    let mut net = Net::pair();
    net.run(3_000);
    let engine = &mut net.publishers[0].engine;
    let frames = (0..6).map(|n| engine.seal("t/a", format!("{n}").as_bytes()).unwrap().to_vec()).collect();
    (net, frames)
}

/// The same header, and a tag that does not verify.
fn forged(frame: &[u8]) -> Vec<u8> {
    let mut forged = frame.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    forged
}

#[test]
fn a_forged_frame_ahead_skips_nothing() {
    let (mut net, frames) = sealed();
    for frame in [&frames[0], &forged(&frames[5]), &frames[5], &frames[1], &frames[2], &frames[3], &frames[4]] {
        net.inject("t/a", frame.clone());
    }
    net.settle();
    assert_eq!(net.readings(0), ["0", "5", "1", "2", "3", "4"]);
}

#[test]
fn a_forged_next_frame_is_refused_and_changes_nothing() {
    let (mut net, frames) = sealed();
    for frame in [&frames[0], &forged(&frames[1]), &forged(&frames[1]), &frames[1], &frames[1], &frames[2]] {
        net.inject("t/a", frame.clone());
    }
    net.settle();
    assert_eq!(net.readings(0), ["0", "1", "2"]);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.delivered, counters.rejected, counters.duplicates), (3, 2, 1));
}

#[test]
fn a_batch_behind_a_forged_one_is_still_a_batch() {
    let (mut net, frames) = sealed();
    let batch = net.publishers[0].engine.seal_batch("t/a", &[b"6", b"7"]).unwrap().to_vec();
    let after = net.publishers[0].engine.seal("t/a", b"8").unwrap().to_vec();
    for frame in frames.iter().chain([&forged(&batch), &batch, &after]) {
        net.inject("t/a", frame.clone());
    }
    net.settle();
    assert_eq!(net.readings(0), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}
