//! What a frame costs beside the AEAD alone, in instructions: unlike a time, their number is the same each time.
//!
//! Callgrind runs this binary again, once with so many frames and once with twice as many; the difference is theirs.
//! Compilers and processors differ, so what is recorded here is the ratio to the bare AEAD, counted in the same way. The
//! leaf (the SHA-256 of a frame that a tick's digest needs) is counted apart: it is the price of the ledger, not of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(feature = "aws-lc-rs")))]

mod cost;

use std::hint::black_box;
use std::process::Command;

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use cost::{Pair, READING, TOPIC};
use securemqtt_core::ledger::leaf;

/// Seal and open without the leaf, of the bare AEAD, when this was last recorded: rustc 1.95, profiles dev and release.
const RECORDED: [(&str, f64); 2] =
    if cfg!(debug_assertions) { [("seal", 1.204), ("open", 1.193)] } else { [("seal", 1.200), ("open", 1.249)] };
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
    for (work, recorded) in RECORDED {
        let (ours, bare) = (instructions(work) - leaf, instructions(&format!("bare {work}")));
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
    let (mut pair, sealed) = Pair::warm(2 * FRAMES);
    let aead = Aes128Gcm::new(&[7; 16].into());
    let aad = [&[0; 8], TOPIC.as_bytes()].concat();
    match work {
        "seal" => (0..frames).for_each(|_| drop(black_box(pair.seal()))),
        "open" => assert!(sealed[..frames].iter().all(|frame| pair.open(frame))),
        "leaf" => assert!(sealed[..frames].iter().all(|frame| black_box(leaf(frame)) != [0; 16])),
        "bare seal" => {
            let mut text = *READING;
            for n in 0..frames {
                let tag = aead.encrypt_inout_detached(&nonce(n), black_box(&aad), text.as_mut_slice().into());
                black_box(tag.unwrap());
            }
        }
        "bare open" => {
            let mut text = *READING;
            let tag = aead.encrypt_inout_detached(&nonce(0), &aad, text.as_mut_slice().into()).unwrap();
            for _ in 0..frames {
                let mut text = black_box(text);
                aead.decrypt_inout_detached(&nonce(0), &aad, text.as_mut_slice().into(), &tag).unwrap();
                black_box(text);
            }
        }
        other => unreachable!("no such work: {other}"),
    }
}

fn nonce(n: usize) -> aes_gcm::Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&n.to_be_bytes());
    nonce.into()
}
