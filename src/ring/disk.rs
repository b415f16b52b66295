//! Writes into files that are durable when they complete, submitted with whatever else the plane submits.
//!
//! Always holds: the bytes of a write are the plane's from the call to its event, and stay where they are; a write is tried
//! once. The file should have been filled before and be opened past the page cache: then a write of whole blocks waits for
//! the disk alone.

use super::event::SocketEvent;
use super::one::Completion;
use super::pending::Pending;
use super::plane::Plane;
use super::user_data::{Op, payload_of};
use io_uring::opcode;
use io_uring::types::Fd;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a plane that ends waits for its disk.
const LAST_WRITE_MAX: Duration = Duration::from_secs(10);

impl Plane {
    /// Writes the bytes in `range` of `bytes` to `file` at `offset`. It leaves with the next entry into the kernel, and
    /// [`SocketEvent::Written`] brings the bytes back.
    pub fn write_durable(&mut self, file: Arc<OwnedFd>, offset: u64, bytes: Vec<u8>, range: Range<usize>) {
        let (fd, part) = (Fd(file.as_raw_fd()), &bytes[range]);
        let write = opcode::Write::new(fd, part.as_ptr(), part.len() as u32).offset(offset);
        let write = write.rw_flags(libc::RWF_DSYNC).build();
        let number = self.pending.insert(Pending::Write { bytes, file });
        let entry = write.user_data(Op::WriteDurable.with(number));
        self.writes += 1;
        // SAFETY: the bytes are on the heap and unchanged in `pending`, as is the file, until the write has completed.
        unsafe { self.rings.push(0, &entry) };
    }

    /// Writes that have not been told of.
    pub const fn writes_under_way(&self) -> u32 {
        self.writes
    }

    pub(super) fn on_written(&mut self, completion: Completion) -> SocketEvent {
        let Pending::Write { bytes, file } = self.pending.remove(payload_of(completion.user_data)) else {
            unreachable!("the number of a write names a write");
        };
        self.writes -= 1;
        drop(file);
        let result = if completion.result < 0 { Err(-completion.result) } else { Ok(completion.value() as usize) };
        SocketEvent::Written { bytes, result }
    }

    /// Waits for the disk: it reads the bytes of a write until it is done, and nothing can keep it from that. Bytes of a disk that
    /// does not answer are left to it for good.
    pub(super) fn finish_writes(&mut self) {
        let deadline = Instant::now() + LAST_WRITE_MAX;
        while self.writes > 0 && self.rings.failed.is_none() && Instant::now() < deadline {
            let waited = self.rings.all[0].enter_and_wait(Some(Duration::from_millis(100)));
            self.rings.reap(0);
            while let Some(completion) = self.rings.completed.pop_front() {
                if Op::of(completion.user_data) == Op::WriteDurable {
                    self.on_written(completion);
                }
            }
            if waited.is_err() {
                break;
            }
        }
        if self.writes > 0 {
            std::mem::forget(std::mem::take(&mut self.pending));
        }
    }
}
