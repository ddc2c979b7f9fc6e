//! What a frame costs beside the AEAD alone, in instructions: unlike a time, their number is the same each time.
//!
//! Callgrind runs this binary again, once with so many frames and once with twice as many; the difference is theirs.
//! Compilers and processors differ, so what is recorded here is the ratio to the bare AEAD, counted in the same way: the very code
//! that a frame is opened by, for of the same source in another crate the compiler makes some seven in a hundred less. It is not told
//! how long a reading is, either. The leaf (the SHA-256 of a frame that a tick's digest needs) is counted apart: it is the price of the
//! ledger, not of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(any(feature = "aws-lc-rs", feature = "ring"))))]

mod cost;

use std::hint::black_box;
use std::process::Command;

use cost::{Pair, READING, TOPIC};
use securemqtt_core::ledger::leaf;
use securemqtt_core::primitives::AeadKey;

/// Our work without the leaf, of the bare AEAD, when this was last recorded: rustc 1.95, profiles dev and release. In turn: of two
/// publishers, so that no frame is the expected one.
const RECORDED: [(&str, &str, f64); 3] = if cfg!(debug_assertions) {
    [("seal", "bare seal", 1.190), ("open", "bare open", 1.188), ("open in turn", "bare open", 1.502)]
} else {
    [("seal", "bare seal", 1.165), ("open", "bare open", 1.197), ("open in turn", "bare open", 1.568)]
};
/// How much more fails.
const TOLERATED: f64 = 1.1;
/// Frames of the shorter run.
const FRAMES: usize = 100;
/// Names the work of a run under callgrind: `work frames`.
const WORK: &str = "SECUREMQTT_COUNTED_WORK";

#[test]
fn seal_and_open_take_no_more_instructions_than_recorded() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("SKIPPED seal_and_open_take_no_more_instructions_than_recorded: there is no valgrind");
        return;
    }
    let leaf = instructions("leaf");
    for (work, bare, recorded) in RECORDED {
        let (ours, bare) = (instructions(work) - leaf, instructions(bare));
        let ratio = ours / bare;
        eprintln!("{work}: {ours:.0} instructions without the leaf ({leaf:.0}), the bare AEAD {bare:.0}: {ratio:.3}");
        assert!(ratio <= recorded * TOLERATED, "{work}: {ratio:.3} of the bare AEAD, and {recorded} when recorded");
    }
}

/// Instructions of one piece of work.
fn instructions(work: &str) -> f64 {
    let [once, twice] = [FRAMES, 2 * FRAMES].map(|frames| counted(work, frames));
    (twice - once) / f64::from(u32::try_from(FRAMES).unwrap())
}

/// Instructions of this binary that does so much work.
fn counted(work: &str, frames: usize) -> f64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "counted_work", "--ignored"])
        .env(WORK, format!("{frames} {work}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind's count").1;
    collected.trim().parse().unwrap()
}

#[test]
#[ignore = "run under callgrind by the other test"]
fn counted_work() {
    let Ok(work) = std::env::var(WORK) else { return };
    let (frames, work) = work.split_once(' ').unwrap();
    let frames: usize = frames.parse().unwrap();
    // What comes before the work is the same in both runs.
    let publishers = if work == "open in turn" { 2 } else { 1 };
    let (mut pair, sealed) = Pair::warm(publishers, 2 * FRAMES);
    let aead = AeadKey::new(&[7; 28]);
    let aad = [&[0; 8], TOPIC.as_bytes()].concat();
    match work {
        "seal" => (0..frames).for_each(|_| drop(black_box(pair.seal()))),
        "open" | "open in turn" => assert!(sealed[..frames].iter().all(|frame| pair.open(frame))),
        "leaf" => assert!(sealed[..frames].iter().all(|frame| black_box(leaf(frame)) != [0; 16])),
        "bare seal" => {
            let mut text = *READING;
            for seq in 0..frames as u64 {
                black_box(aead.seal_in_place(seq, black_box(&aad), black_box(text.as_mut_slice())).unwrap());
            }
        }
        "bare open" => {
            let mut text = *READING;
            let tag = aead.seal_in_place(0, &aad, &mut text).unwrap();
            for _ in 0..frames {
                let mut text = black_box(text);
                aead.open_in_place(0, black_box(&aad), black_box(text.as_mut_slice()), &tag).unwrap();
                black_box(text);
            }
        }
        other => unreachable!("no such work: {other}"),
    }
}
