//! What a frame allocates in the steady state: the frame that is sent, and the reading that is delivered. Nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cost;

use cost::Pair;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const FRAMES: usize = 200;
/// Bytes of a frame with a sequence number of two bytes, and of the buffer that a reading is decrypted in.
const FRAME_LEN: u64 = 9 + 110 + 16;
const READING_LEN: u64 = 110;

#[test]
fn a_frame_is_one_allocation_and_a_reading_one() {
    let frames = u64::try_from(FRAMES).unwrap();
    let (mut pair, sealed) = Pair::warm(FRAMES);
    let mut more = Vec::with_capacity(FRAMES);
    // Where they are is written there when there are too many.
    let calls = concat!(env!("CARGO_TARGET_TMPDIR"), "/allocations.json");
    let profiler = dhat::Profiler::builder().testing().file_name(calls).build();

    assert!(sealed.iter().all(|frame| pair.open(frame)));
    let opened = dhat::HeapStats::get();
    dhat::assert_eq!((opened.total_blocks, opened.total_bytes), (frames, frames * READING_LEN));

    more.extend((0..FRAMES).map(|_| pair.seal()));
    let sealed = dhat::HeapStats::get();
    dhat::assert_eq!(sealed.total_blocks - opened.total_blocks, frames);
    dhat::assert_eq!(sealed.total_bytes - opened.total_bytes, frames * FRAME_LEN);
    drop(profiler);
}
