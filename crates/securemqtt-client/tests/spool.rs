//! The memory that a start with a full spool takes. Alone in its program: others would be counted with it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use securemqtt_client::state::{Batch, StateDir, Store};
use securemqtt_core::record::{Change, Table};

const SEGMENT: usize = 256 << 10;
const SEGMENTS: u64 = 256;
/// The program, its threads, the database's cache, and a few segments.
const ENOUGH_KIB: usize = 24 << 10;

/// The most memory that this program has had, in KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn segment(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&number.to_be_bytes()));
    bytes
}

/// 64 MiB of segments are written, found and read again, one at a time.
#[tokio::test]
async fn a_full_spool_is_not_read_into_memory() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path().join("state")).unwrap();
    let (mut store, _) = Store::open(&state, None).unwrap();
    for number in 0..SEGMENTS {
        let value = Some(segment(number).into());
        let change = Change { table: Table::Segment, key: number.to_be_bytes().to_vec(), value };
        let ticket = store.submit(Batch { changes: vec![change], ..Batch::default() });
        store.reached(ticket).await;
    }
    store.close().unwrap();
    let (store, loaded) = Store::open(&state, None).unwrap();
    assert_eq!(loaded.segments.len(), usize::try_from(SEGMENTS).unwrap());
    for (number, key) in loaded.segments.into_iter().enumerate() {
        let read = store.fetch(Table::Segment, key).await.unwrap().unwrap();
        assert!(*read == segment(number as u64), "segment {number}");
    }
    assert!(peak() < ENOUGH_KIB, "{} KiB", peak());
}
