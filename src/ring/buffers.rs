//! The receive buffers that one ring lends to whichever of its sockets has data.
//!
//! The kernel takes a buffer from the buffer ring when bytes arrive and names it in the completion; until the caller
//! gives it back it is out of circulation. So a silent socket holds none, and a caller that holds buffers back slows
//! its peers down through TCP.

use super::error::{RingError, error};
use io_uring::{IoUring, types::BufRingEntry};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Bytes received, in a buffer on loan: read them with [`Plane::bytes`](super::Plane::bytes), then
/// [`give_back`](super::Plane::give_back). One that is dropped instead is lost to the ring.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the ring"]
pub struct Buffer {
    pub(super) ring: u8,
    /// Bytes before those that were received.
    pub(super) start: u8,
    pub(super) id: u16,
    pub(super) bytes: u32,
}

impl Buffer {
    /// How many bytes were received into it; at least one, but for a datagram.
    pub const fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether it holds an empty datagram: an empty receive of a connection is its end, not a buffer.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// One buffer group in one anonymous mapping: first the ring of entries, then the buffers.
pub(super) struct BufferPool {
    /// Start of the mapping: the entries that the kernel reads.
    entries: NonNull<BufRingEntry>,
    /// Behind them, the buffers.
    buffers: NonNull<u8>,
    mapping_bytes: usize,
    count: u16,
    buffer_bytes: u32,
    /// Our copy of the tail; the kernel only reads the shared one.
    tail: u16,
    lent: u16,
}

impl BufferPool {
    /// The one buffer group of a ring.
    pub(super) const GROUP: u16 = 0;

    /// Maps the memory and registers it with `uring`. `count` is a power of two up to 32,768.
    pub(super) fn new(uring: &IoUring, count: u16, buffer_bytes: u32) -> Result<Self, RingError> {
        assert!(count.is_power_of_two(), "the kernel wants a power of two of buffers");
        let buffers_offset = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let mapping_bytes = buffers_offset + usize::from(count) * buffer_bytes as usize;
        // SAFETY: a fresh anonymous mapping aliases nothing; a failure is checked below.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(error("map the receive buffers")(std::io::Error::last_os_error()));
        }
        let entries = NonNull::new(memory.cast::<BufRingEntry>()).expect("mmap returns no null page unasked");
        // SAFETY: the offset lies inside the mapping.
        let buffers = unsafe { entries.cast::<u8>().add(buffers_offset) };
        let mut pool = Self { entries, buffers, mapping_bytes, count, buffer_bytes, tail: 0, lent: count };
        for id in 0..count {
            pool.give_back(id);
        }
        // SAFETY: the entries lie at the page-aligned start of the mapping, which lives until `drop`; the owner drops
        // the pool only after the ring let go of it (`Ring::drop`).
        unsafe { uring.submitter().register_buf_ring_with_flags(pool.entries.as_ptr() as u64, count, Self::GROUP, 0) }
            .map_err(error("register the receive buffers"))?;
        Ok(pool)
    }

    /// How many buffers the kernel has left to fill.
    pub(super) const fn free(&self) -> u16 {
        self.count - self.lent
    }

    /// Notes that the kernel filled a buffer and named it in a completion.
    pub(super) fn take(&mut self, id: u16) {
        assert!(id < self.count && self.lent < self.count, "the kernel names a buffer that it was lent");
        self.lent += 1;
    }

    /// What was received into a buffer on loan.
    pub(super) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let (start, bytes) = (usize::from(buffer.start), buffer.bytes as usize);
        assert!(buffer.id < self.count && start + bytes <= self.buffer_bytes as usize);
        // SAFETY: the range lies inside the mapping (checked above), was initialised (zero pages, then the kernel), and
        // the kernel does not write to it before `give_back`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.buffers.as_ptr().add(self.offset_of(buffer.id) + start), bytes) }
    }

    /// Lends buffer `id` to the kernel again.
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(id < self.count && self.lent > 0, "a buffer is given back once");
        self.lent -= 1;
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count` and the entries lie at the page-aligned start of the mapping; an entry that
        // the kernel has not been shown yet (beyond the published tail) is ours to write.
        unsafe {
            let entry = self.entries.as_ptr().add(index);
            (*entry).set_addr(self.buffers.as_ptr().add(self.offset_of(id)) as u64);
            (*entry).set_len(self.buffer_bytes);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is the reserved field of the first entry, aligned for a u16 and alive as long as the
        // mapping; both sides access it atomically. Release publishes the entry written above.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn offset_of(&self, id: u16) -> usize {
        usize::from(id) * self.buffer_bytes as usize
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no slice into it outlives `self`, and the ring has let go of it.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), self.mapping_bytes) };
    }
}
