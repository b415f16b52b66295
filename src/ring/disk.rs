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
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where to, and how.
#[derive(Clone, Copy, Debug)]
pub struct WriteAt {
    /// From the beginning of the file.
    pub offset: u64,
    /// Which way is right depends on what else runs on the machine.
    pub durability: Durability,
}

/// How long a plane that ends waits for its disk.
const LAST_WRITE_MAX: Duration = Duration::from_secs(10);

/// How a write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// One operation with `RWF_DSYNC`. The least work where cores have time. Where the disk has a cache of its own, a worker of the
    /// kernel flushes it, bound to one core, and where others keep that core busy it waits for its turn: 10 ms were seen where
    /// the other way took 0.1.
    Dsync,
    /// A write and a sync behind it, linked: a third more work, and done by a thread of the process that any core may run.
    WriteThenSync,
}

impl Plane {
    /// Writes the bytes in `range` of `bytes` to `file` at `offset`. It leaves with the next entry into the kernel, and
    /// [`SocketEvent::Written`] brings the bytes back.
    pub fn write_durable(&mut self, file: Arc<OwnedFd>, at: WriteAt, bytes: Vec<u8>, range: Range<usize>) {
        let WriteAt { offset, durability } = at;
        let (fd, part) = (Fd(file.as_raw_fd()), &bytes[range]);
        let (len, start) = (part.len(), part.as_ptr());
        let number = self.pending.insert(Pending::Write { bytes, file, len });
        let write = opcode::Write::new(fd, start, len as u32).offset(offset);
        self.writes += 1;
        match durability {
            Durability::Dsync => {
                let write = write.rw_flags(libc::RWF_DSYNC).build().user_data(Op::WriteDurable.with(number));
                // SAFETY: the bytes are on the heap and unchanged in `pending`, as is the file, until the write has completed.
                unsafe { self.rings.push(0, &write) };
            }
            Durability::WriteThenSync => {
                let flags = squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS;
                let write = write.build().flags(flags).user_data(Op::WriteBeforeSync.with(number));
                let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
                let sync = sync.user_data(Op::SyncBehindWrite.with(number));
                // SAFETY: as above; whichever completes, the write has ended. They are queued together: a link that was submitted
                // without what it leads to would end there.
                unsafe { self.rings.push_pair(0, &[write, sync]) };
            }
        }
    }

    /// Writes that have not been told of.
    #[cfg(test)]
    pub(super) const fn writes_under_way(&self) -> u32 {
        self.writes
    }

    pub(super) fn on_written(&mut self, completion: Completion) -> SocketEvent {
        let Pending::Write { bytes, file, len } = self.pending.remove(payload_of(completion.user_data)) else {
            unreachable!("the number of a write names a write");
        };
        self.writes -= 1;
        drop(file);
        let result = match completion.result {
            // A sync that went well, and so did the write in front of it, which took everything.
            0 if Op::of(completion.user_data) == Op::SyncBehindWrite => Ok(len),
            errno @ ..0 => Err(-errno),
            _ => Ok(completion.value() as usize),
        };
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
                let op = Op::of(completion.user_data);
                if matches!(op, Op::WriteDurable | Op::WriteBeforeSync | Op::SyncBehindWrite) {
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
