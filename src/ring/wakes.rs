//! Waking: how others end this plane's wait, and how this plane ends theirs.

use super::handle::PlaneHandle;
use super::rings::Rings;
use super::user_data::Op;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::cell::UnsafeCell;
use std::os::fd::AsRawFd;

/// See the module's text.
#[derive(Default)]
pub(super) struct Wakes {
    /// Whether the first ring reads the eventfd.
    reading: bool,
    /// Where the kernel writes what it read; boxed, because the read under way points to it.
    count: Box<UnsafeCell<u64>>,
    /// Planes that this one has woken.
    others: Vec<PlaneHandle>,
}

impl Wakes {
    /// Has the first ring read the eventfd, unless it does.
    pub(super) fn arm(&mut self, rings: &mut Rings) {
        if self.reading {
            return;
        }
        self.reading = true;
        let count = self.count.get().cast();
        let entry = opcode::Read::new(Fd(rings.handle.eventfd().as_raw_fd()), count, size_of::<u64>() as u32)
            .build()
            .user_data(Op::Woken.with(0));
        // SAFETY: the count is boxed, and touched by nobody else; `end` is called before it is freed.
        unsafe { rings.push(0, &entry) };
    }

    /// The eventfd was read.
    pub(super) const fn disarm(&mut self) {
        self.reading = false;
    }

    /// Ends the read, if there is one.
    pub(super) fn end(&mut self, rings: &Rings) {
        if self.reading {
            rings.all[0].end_all(rings.handle.eventfd().as_raw_fd());
        }
    }

    /// Wakes another plane's pump if it sleeps, with the next entry into the kernel.
    pub(super) fn wake(&mut self, rings: &mut Rings, other: &PlaneHandle) {
        if !other.is_to_be_woken() {
            return;
        }
        let known = self.others.iter().position(|known| known.is_same(other));
        let index = known.unwrap_or_else(|| {
            self.others.push(other.clone());
            self.others.len() - 1
        });
        let entry = opcode::MsgRingData::new(Fd(other.first_ring()), 0, Op::WokenByOther.with(0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::WakeOther.with(index as u64));
        // SAFETY: the operation has no memory.
        unsafe { rings.push(0, &entry) };
    }

    /// The kernel could not wake the other plane in its ring.
    pub(super) fn wake_by_eventfd(&self, index: usize) {
        self.others[index].signal();
    }
}
