//! The tables of direct descriptors: which ring takes a socket, and how a socket gets in and out.

use super::buffers::Buffer;
use super::config::PlaneConfig;
use super::error::{RingError, error_number};
use super::one::{Completion, Ring};
use super::rings::Rings;
use super::user_data::Op;
use crate::ids::SocketId;
use crate::limits::{LATER_RING_RECEIVE_BUFFERS, RING_DESCRIPTORS_MAX, RINGS_MAX};
use io_uring::opcode;
use io_uring::types::Fixed;
use std::os::fd::{AsFd, AsRawFd};

/// The kernel's `IORING_FILE_INDEX_ALLOC`: it picks a free slot, and writes its number over the descriptor's.
const ANY_SLOT: i32 = -1;
/// Entries into the kernel until an installation, which it does on the spot, must have answered.
const INSTALL_ENTERS_MAX: u32 = 1000;

impl Rings {
    /// Sockets that the caller has.
    pub(super) fn sockets(&self) -> u32 {
        self.all.iter().map(|ring| ring.open).sum()
    }

    /// Picks the ring that takes the next sockets of others: one with room to spare, else a new one, else the one with
    /// most room.
    pub(super) fn choose_adopting(&mut self) -> usize {
        let spare = self.all.iter().position(|ring| ring.room() > ring.reserve());
        let chosen = spare.or_else(|| self.add_ring().ok()).unwrap_or_else(|| {
            (0..self.all.len()).max_by_key(|&index| self.all[index].room()).expect("a plane has a ring")
        });
        self.handle.set_adopting(chosen);
        chosen
    }

    /// Picks a ring for a socket that the plane opens itself: the newest if it has room, else any, else a new one.
    pub(super) fn choose_with_room(&mut self) -> Result<usize, RingError> {
        let newest = self.all.len() - 1;
        if self.all[newest].room() > 0 {
            return Ok(newest);
        }
        match self.all.iter().position(|ring| ring.room() > 0) {
            Some(ring) => Ok(ring),
            None => self.add_ring(),
        }
    }

    /// Adds a ring as large as the limit on open files and what is missing to the plane's own limit allow.
    pub(super) fn add_ring(&mut self) -> Result<usize, RingError> {
        let index = self.all.len();
        let have: u32 = self.all.iter().map(|ring| ring.descriptors).sum();
        let want = self.config.sockets_max.saturating_sub(have);
        if index == RINGS_MAX || want == 0 {
            return Err(error_number("add a ring", libc::ENFILE));
        }
        let files_max = super::probe::open_files_limit().0.min(u64::from(RING_DESCRIPTORS_MAX)) as u32;
        let descriptors = want.min(files_max).min(self.config.ring_sockets_max).max(1);
        let buffers_max = if index == 0 { u16::MAX } else { LATER_RING_RECEIVE_BUFFERS };
        let buffers = self.config.buffers.min(buffers_max);
        let config = PlaneConfig { buffers, ..self.config };
        let ring = Ring::new(&config, descriptors, self.handle.eventfd().as_raw_fd())?;
        self.handle.set_ring(index, ring.fd());
        self.all.push(ring);
        Ok(index)
    }

    /// Puts a socket into a free slot of a ring's table. The descriptor may be closed afterwards.
    pub(super) fn install(&mut self, ring: usize, socket: impl AsFd) -> Result<SocketId, RingError> {
        let mut descriptor = socket.as_fd().as_raw_fd();
        let entry =
            opcode::FilesUpdate::new(&raw mut descriptor, 1).offset(ANY_SLOT).build().user_data(Op::Install.with(0));
        // SAFETY: `descriptor` lives until the completion, which this function waits for; the kernel does this
        // operation as it takes it.
        unsafe { self.push(ring, &entry) };
        let mut enters = 0;
        loop {
            self.enter(ring);
            let is_ours = |completion: &Completion| Op::of(completion.user_data) == Op::Install;
            if let Some(at) = self.completed.iter().rposition(is_ours) {
                let completion = self.completed.remove(at).expect("just found");
                if completion.result != 1 {
                    return Err(error_number("find a slot for a socket", -completion.result));
                }
                self.all[ring].open += 1;
                return Ok(SocketId::new(ring, descriptor.cast_unsigned()));
            }
            enters += 1;
            // Going on would free memory that the kernel may still write to.
            assert!(enters < INSTALL_ENTERS_MAX || self.failed.is_some(), "the kernel does not answer");
            self.check()?;
        }
    }

    /// Closes the direct descriptor. The kernel runs operations in the order they were queued, so whatever was queued
    /// for the socket before still finds it.
    pub(super) fn free_slot(&mut self, socket: SocketId) {
        let entry = opcode::Close::new(Fixed(socket.slot())).build();
        self.all[socket.ring()].open -= 1;
        // SAFETY: the operation has no memory.
        unsafe { self.push_ignored(socket.ring(), entry) };
    }

    /// Takes the buffer that the kernel filled, if it names one.
    pub(super) fn take_buffer(&mut self, completion: Completion) -> Option<Buffer> {
        let id = io_uring::cqueue::buffer_select(completion.flags)?;
        self.all[usize::from(completion.ring)].buffers.take(id);
        Some(Buffer { ring: completion.ring, start: 0, id, bytes: completion.value() })
    }

    /// Lends a buffer to the kernel again.
    #[expect(clippy::needless_pass_by_value, reason = "who gave a buffer back has none any more")]
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.all[usize::from(buffer.ring)].buffers.give_back(buffer.id);
    }
}
