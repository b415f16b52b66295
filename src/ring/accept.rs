//! Accepting: at most so many connections at a time, and then no more until the caller asks.
//!
//! Each listener has [`ACCEPTS_PER_TURN`] places. An accept under way occupies one, with room for the peer's address;
//! its completion empties the place, and only [`Listeners::accept_more`] fills it again. So a caller that falls behind takes
//! in no more than it asked for, and everybody else waits in the kernel's backlog, where a connection costs least.
//! Accepts move to another ring before theirs is full: those under way are ended, and their places filled there.

use super::address::{IP_ADDRESS_MAX_BYTES, read_ip_address};
use super::event::Event;
use super::one::Completion;
use super::rings::Rings;
use super::user_data::{Op, payload_of};
use crate::ids::{ListenerId, SocketId};
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPTS_PER_TURN};
use io_uring::opcode;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Timespec};
use std::cell::UnsafeCell;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

static ACCEPT_PAUSE: Timespec = Timespec::new().nsec(ACCEPT_PAUSE_MS * 1_000_000);

/// The listeners of one plane.
#[derive(Default)]
pub(super) struct Listeners {
    all: Vec<Listener>,
}

/// A listening socket and its accepts.
struct Listener {
    /// `None` once it was closed.
    socket: Option<TcpListener>,
    /// Where its accepts are under way.
    ring: usize,
    /// Its ring is nearly full: the accepts under way are being ended so that others can go on elsewhere.
    moving: bool,
    /// The system is out of something: nothing is asked for until a while has passed.
    resting: bool,
    /// Places without an accept.
    empty: Vec<u16>,
    /// Where the kernel writes who it is; boxed, because accepts under way point into it.
    peers: Box<[UnsafeCell<Peer>]>,
}

/// A `sockaddr` of either family as `accept` writes it.
#[repr(C)]
struct Peer {
    bytes: [u8; IP_ADDRESS_MAX_BYTES],
    len: libc::socklen_t,
}

impl Listener {
    fn new(socket: TcpListener, ring: usize) -> Self {
        Self {
            socket: Some(socket),
            ring,
            moving: false,
            resting: false,
            empty: (0..ACCEPTS_PER_TURN).rev().collect(),
            peers: (0..ACCEPTS_PER_TURN).map(|_| UnsafeCell::new(Peer::EMPTY)).collect(),
        }
    }

    /// Places that have one.
    const fn under_way(&self) -> usize {
        self.peers.len() - self.empty.len()
    }
}

impl Peer {
    const EMPTY: Self = Self { bytes: [0; IP_ADDRESS_MAX_BYTES], len: IP_ADDRESS_MAX_BYTES as libc::socklen_t };
}

impl Listeners {
    /// Accepts the first connections from `socket`.
    pub(super) fn add(&mut self, rings: &mut Rings, socket: TcpListener) -> ListenerId {
        let id = ListenerId(u8::try_from(self.all.len()).expect("a configuration lists a handful of listeners"));
        let ring = rings.choose_adopting();
        self.all.push(Listener::new(socket, ring));
        self.accept_more(rings);
        id
    }

    /// Asks for as many connections of each listener as were told since the last call. Costs nothing where none were.
    pub(super) fn accept_more(&mut self, rings: &mut Rings) {
        for index in 0..self.all.len() {
            let listener = &self.all[index];
            if listener.empty.is_empty() || listener.socket.is_none() || listener.resting {
                continue;
            }
            let ring = &rings.all[listener.ring];
            if ring.room() > ring.reserve() {
                self.all[index].moving = false;
            } else if !self.move_accepts(rings, index) {
                continue;
            }
            self.fill_places(rings, index);
        }
    }

    /// Fills a listener's empty places, as far as its ring has slots for what they may bring.
    fn fill_places(&mut self, rings: &mut Rings, index: usize) {
        let ring = self.all[index].ring;
        let listeners = self.all.iter().filter(|listener| listener.ring == ring);
        let under_way: usize = listeners.map(Listener::under_way).sum();
        for _ in under_way..rings.all[ring].room() as usize {
            let listener = &mut self.all[index];
            let Some(socket) = &listener.socket else { return };
            let Some(place) = listener.empty.pop() else { return };
            let peer = listener.peers[usize::from(place)].get();
            // SAFETY: the place was empty, so that neither an accept nor a reference points into it.
            let (bytes, len) = unsafe {
                (*peer).len = Peer::EMPTY.len;
                (&raw mut (*peer).bytes, &raw mut (*peer).len)
            };
            let entry = opcode::Accept::new(Fd(socket.as_raw_fd()), bytes.cast(), len)
                .file_index(Some(DestinationSlot::auto_target()))
                .build()
                .user_data(Op::Accept.with((index as u64) << 16 | u64::from(place)));
            // SAFETY: `peers` is boxed, and is there until the accept has ended: a plane that is dropped calls `end_all`. The
            // operation holds the listener's file itself once it was submitted.
            unsafe { rings.push(ring, &entry) };
        }
    }

    /// The ring of a listener is nearly full: goes over to another. False until nothing is under way in the old one.
    fn move_accepts(&mut self, rings: &mut Rings, index: usize) -> bool {
        let chosen = rings.choose_adopting();
        let listener = &mut self.all[index];
        if chosen == listener.ring {
            return true;
        }
        if listener.under_way() == 0 {
            listener.moving = false;
            listener.ring = chosen;
            return true;
        }
        if !listener.moving {
            listener.moving = true;
            self.end_accepts(rings, index);
        }
        false
    }

    /// Ends a listener's accepts; those that the kernel has completed already are still told.
    fn end_accepts(&self, rings: &mut Rings, index: usize) {
        let listener = &self.all[index];
        let ring = listener.ring;
        let places = (0..ACCEPTS_PER_TURN).filter(|place| !listener.empty.contains(place));
        for place in places.collect::<Vec<_>>() {
            rings.cancel(ring, CancelBuilder::user_data(Op::Accept.with((index as u64) << 16 | u64::from(place))));
        }
    }

    /// Stops accepting. Connections that the kernel has completed already may still be told.
    pub(super) fn close(&mut self, rings: &mut Rings, listener: ListenerId) {
        let index = usize::from(listener.0);
        self.end_accepts(rings, index);
        // The kernel must have taken every entry that names the descriptor before the number can mean another file.
        rings.enter_all();
        self.all[index].socket = None;
    }

    pub(super) fn on_accept(&mut self, rings: &mut Rings, completion: Completion) -> Option<Event> {
        let payload = payload_of(completion.user_data);
        let (index, place) = ((payload >> 16) as usize, payload as u16);
        let listener = &mut self.all[index];
        listener.empty.push(place);
        let id = ListenerId(index as u8);
        if completion.result >= 0 {
            // SAFETY: the accept has ended, so that the kernel has written what it would, and nobody else holds the place.
            let peer = unsafe { &*listener.peers[usize::from(place)].get() };
            let peer = read_ip_address(&peer.bytes[..peer.bytes.len().min(peer.len as usize)]);
            let ring = usize::from(completion.ring);
            rings.all[ring].open += 1;
            return Some(Event::Accepted { listener: id, socket: SocketId::new(ring, completion.value()), peer });
        }
        let errno = -completion.result;
        if errno == libc::ECANCELED {
            return None;
        }
        rings.counters.accept_failures += 1;
        // These are the fault of one peer, and the next may be fine. Everything else is the system's.
        if !matches!(errno, libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EPERM) {
            self.rest(rings, index);
        }
        Some(Event::AcceptFailed { listener: id, errno })
    }

    /// Lets accepting rest: there is no descriptor or no memory for a connection, and trying at once would spin.
    fn rest(&mut self, rings: &mut Rings, index: usize) {
        if std::mem::replace(&mut self.all[index].resting, true) {
            return;
        }
        let entry = opcode::Timeout::new(&raw const ACCEPT_PAUSE).build().user_data(Op::AcceptPause.with(index as u64));
        // SAFETY: the time is static.
        unsafe { rings.push(0, &entry) };
    }

    pub(super) fn on_rested(&mut self, index: usize) {
        self.all[index].resting = false;
    }

    /// Ends every accept, and returns when none points here any more.
    pub(super) fn end_all(&self, rings: &mut Rings) {
        for listener in &self.all {
            if let Some(socket) = &listener.socket {
                rings.all[listener.ring].end_all(socket.as_raw_fd());
            }
        }
    }
}
