//! Writes that are durable when they complete.

use super::{next, small};
use crate::limits::STORE_BLOCK_BYTES;
use crate::ring::{Durability, Plane, SocketEvent, WriteAt};
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

const WAYS: [Durability; 2] = [Durability::Dsync, Durability::WriteThenSync];

/// A file of zeros that goes away with the test.
struct Filled(PathBuf);

impl Filled {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dunlin-ring-{name}-{}", std::process::id()));
        std::fs::write(&path, vec![0; 16 * STORE_BLOCK_BYTES]).unwrap();
        Self(path)
    }

    fn open(&self, direct: bool) -> Option<Arc<OwnedFd>> {
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let opened = OpenOptions::new().write(true).custom_flags(flags).open(&self.0);
        opened.ok().map(|file| Arc::new(file.into()))
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Blocks of one value in an allocation that begins anywhere.
fn blocks(count: usize, value: u8) -> (Vec<u8>, std::ops::Range<usize>) {
    let len = count * STORE_BLOCK_BYTES;
    let bytes = vec![value; len + STORE_BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(STORE_BLOCK_BYTES);
    (bytes, start..start + len)
}

fn written(plane: &mut Plane) -> (Vec<u8>, Result<usize, i32>) {
    match next(plane) {
        SocketEvent::Written { bytes, result } => (bytes, result),
        other => panic!("expected the end of a write: {other:?}"),
    }
}

#[test]
fn a_write_completes_with_its_bytes_and_wakes_who_sleeps() {
    let file = Filled::new("write");
    // Not every file system can be written to past the page cache.
    let files = [file.open(true), file.open(false)].into_iter().flatten();
    for (opened, durability) in files.flat_map(|opened| WAYS.map(|way| (Arc::clone(&opened), way))) {
        let mut plane = Plane::new(small()).unwrap();
        for (at, value) in [(0, 1), (2, 2), (4, 3)] {
            let (bytes, range) = blocks(2, value);
            let offset = at * STORE_BLOCK_BYTES as u64;
            plane.write_durable(Arc::clone(&opened), WriteAt { offset, durability }, bytes, range);
            assert_eq!(plane.writes_under_way(), 1);
            let (bytes, result) = written(&mut plane);
            assert_eq!((bytes[0], bytes.len(), result), (value, 3 * STORE_BLOCK_BYTES, Ok(2 * STORE_BLOCK_BYTES)));
        }
        let stored = std::fs::read(&file.0).unwrap();
        let values: Vec<u8> = stored.chunks(STORE_BLOCK_BYTES).take(7).map(|block| block[17]).collect();
        assert_eq!(values, [1, 1, 2, 2, 3, 3, 0]);
    }
}

#[test]
fn a_write_that_fails_says_why_and_gives_the_bytes_back() {
    let file = Filled::new("refused");
    let mut plane = Plane::new(small()).unwrap();
    let read_only: Arc<OwnedFd> = Arc::new(File::open(&file.0).unwrap().into());
    for durability in WAYS {
        let (bytes, range) = blocks(1, 1);
        plane.write_durable(Arc::clone(&read_only), WriteAt { offset: 0, durability }, bytes, range);
        let (bytes, result) = written(&mut plane);
        assert_eq!((bytes.len(), result), (2 * STORE_BLOCK_BYTES, Err(libc::EBADF)), "{durability:?}");
        assert_eq!(plane.writes_under_way(), 0);
    }
    assert!(plane.next_event().is_none());
}

#[test]
fn a_plane_that_ends_waits_for_the_disk() {
    let file = Filled::new("end");
    for value in 1..20 {
        let mut plane = Plane::new(small()).unwrap();
        let (bytes, range) = blocks(8, value);
        let durability = WAYS[usize::from(value % 2)];
        plane.write_durable(file.open(false).unwrap(), WriteAt { offset: 0, durability }, bytes, range);
        drop(plane);
        assert_eq!(std::fs::read(&file.0).unwrap()[..8 * STORE_BLOCK_BYTES], vec![value; 8 * STORE_BLOCK_BYTES]);
    }
}

#[test]
fn a_write_that_falls_short_is_not_called_durable() {
    let mut plane = Plane::new(small()).unwrap();
    // A socket takes what fits into it and no more.
    for durability in WAYS {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let writer = OwnedFd::from(writer);
        let (bytes, range) = blocks(64, 1);
        let wanted = range.len();
        plane.write_durable(Arc::new(writer), WriteAt { offset: u64::MAX, durability }, bytes, range);
        let (_, result) = written(&mut plane);
        assert!(result.is_err() || result.is_ok_and(|taken| taken < wanted), "{durability:?}: {result:?}");
        drop(reader);
    }
}
