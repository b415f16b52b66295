//! What other threads may know of a plane: how to wake its pump and where to send it a socket.

use super::error::{RingError, error};
use crate::limits::RINGS_MAX;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering, fence};

/// A way to reach a plane from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PlaneHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    /// Set while the pump waits: only then does a wake cost a system call.
    sleeping: AtomicBool,
    /// Descriptors of the plane's rings; -1 where there is none (any more).
    rings: [AtomicI32; RINGS_MAX],
    /// Which of them takes sockets.
    adopting: AtomicUsize,
}

impl PlaneHandle {
    pub(super) fn new() -> Result<Self, RingError> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC).map_err(error("make an eventfd"))?;
        Ok(Self(Arc::new(Shared {
            eventfd,
            sleeping: AtomicBool::new(false),
            rings: [const { AtomicI32::new(-1) }; RINGS_MAX],
            adopting: AtomicUsize::new(0),
        })))
    }

    /// Makes the plane's pump look around if it sleeps; nothing otherwise, because a pump looks around before it goes
    /// to sleep. Call it after the thing to look at is there (a message in a channel). From any thread, any number of
    /// times: of all callers, one pays for one system call per sleep.
    pub fn wake(&self) {
        if self.is_to_be_woken() {
            self.signal();
        }
    }

    /// Whether the pump sleeps and nobody has set out to wake it: whoever is told so has to.
    pub(super) fn is_to_be_woken(&self) -> bool {
        // Pairs with the fence in `set_sleeping`: either the pump sees what was put there before, or we see it asleep.
        fence(Ordering::SeqCst);
        self.0.sleeping.load(Ordering::Relaxed) && self.0.sleeping.swap(false, Ordering::Relaxed)
    }

    /// Whether both lead to the same plane.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn signal(&self) {
        // It can only fail with EAGAIN when 2^64 - 2 wakes are outstanding, or EINTR when it would have to wait for that.
        let written = rustix::io::write(&self.0.eventfd, &1_u64.to_ne_bytes());
        debug_assert_eq!(written, Ok(8));
    }

    pub(super) fn eventfd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }

    pub(super) fn set_sleeping(&self, sleeping: bool) {
        self.0.sleeping.store(sleeping, Ordering::Relaxed);
        if sleeping {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn set_ring(&self, index: usize, fd: RawFd) {
        self.0.rings[index].store(fd, Ordering::Release);
    }

    pub(super) fn set_adopting(&self, index: usize) {
        self.0.adopting.store(index, Ordering::Release);
    }

    /// The ring that takes sockets now; -1 once the plane is gone, which the kernel refuses with EBADF.
    pub(super) fn adopting_ring(&self) -> RawFd {
        self.0.rings[self.0.adopting.load(Ordering::Acquire)].load(Ordering::Acquire)
    }

    /// The ring that the plane waits in; -1 as above.
    pub(super) fn first_ring(&self) -> RawFd {
        self.0.rings[0].load(Ordering::Acquire)
    }
}
