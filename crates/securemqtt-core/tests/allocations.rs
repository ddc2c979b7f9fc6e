//! What a frame allocates in the steady state: nothing, where it is gone before many others come; where it is kept, its share of
//! a chunk of a few kilobytes. So it is with readings.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cost;

use cost::Pair;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const FRAMES: usize = 100;
/// Bytes of a frame with a sequence number of two bytes.
const FRAME_LEN: u64 = 9 + 110 + 16;
/// Bytes of a chunk, and blocks: the bytes, and the count of who holds them.
const CHUNK: u64 = 4096;
const BLOCKS: u64 = 2;

#[test]
fn frames_and_readings_are_cut_from_a_chunk_that_is_used_again() {
    let frames = u64::try_from(FRAMES).unwrap();
    let (mut pair, sealed) = Pair::warm(1, FRAMES);
    let mut more = Vec::with_capacity(FRAMES);
    // Where they are is written there when there are too many.
    let calls = concat!(env!("CARGO_TARGET_TMPDIR"), "/allocations.json");
    let profiler = dhat::Profiler::builder().testing().file_name(calls).build();

    assert!(sealed.iter().all(|frame| pair.open(frame)));
    let opened = dhat::HeapStats::get();
    // Not one for all of them.
    dhat::assert!(opened.total_blocks <= BLOCKS);

    (0..FRAMES).for_each(|_| drop(pair.seal()));
    let sealed = dhat::HeapStats::get();
    dhat::assert!(sealed.total_blocks - opened.total_blocks <= BLOCKS);

    more.extend((0..FRAMES).map(|_| pair.seal()));
    let kept = dhat::HeapStats::get();
    let chunks = frames.div_ceil(CHUNK / FRAME_LEN) + 1;
    dhat::assert!(kept.total_blocks - sealed.total_blocks <= chunks * BLOCKS);
    dhat::assert!(kept.curr_bytes - sealed.curr_bytes <= usize::try_from(chunks * (CHUNK + 64)).unwrap());
    drop(profiler);
}
