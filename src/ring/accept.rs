//! Accepting: at most so many connections at a time, and then no more until the caller asks.
//!
//! Each listener has [`ACCEPTS_PER_TURN`] places. An accept under way occupies one, with room for the peer's address;
//! its completion empties the place, and only [`Listeners::accept_more`] fills it again. So a caller that falls behind
//! takes in no more than it asked for, and everybody else waits in the kernel's backlog, where a connection costs least.
//! Accepts move to another ring before theirs is full: those under way are ended, and their places filled there.
//!
//! TCP connections go straight into the ring's table. Those of a Unix path come as a descriptor first, because only a
//! descriptor tells every kernel's process, user and group of the peer; installing it costs an entry into the kernel.

use super::address::{IP_ADDRESS_MAX_BYTES, read_ip_address};
use super::error::RingError;
use super::event::SocketEvent;
use super::listen::ListenConfig;
use super::one::Completion;
use super::rings::Rings;
use super::unix::{SharedUnixListener, peer_of};
use super::user_data::{Op, payload_of};
use crate::ids::{ListenerId, PeerAddress, SocketId};
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPTS_PER_TURN};
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Timespec};
use io_uring::{opcode, squeue};
use std::cell::UnsafeCell;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

static ACCEPT_PAUSE: Timespec = Timespec::new().nsec(ACCEPT_PAUSE_MS * 1_000_000);

/// The listeners of one plane.
#[derive(Default)]
pub(super) struct Listeners {
    all: Vec<ListeningSocket>,
}

/// What is accepted from.
pub(super) enum ListenSource {
    Tcp(TcpListener),
    Unix(SharedUnixListener),
}

/// What a listener is doing about its accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    /// It fills its places.
    On,
    /// Its ring is nearly full: the accepts under way are being ended so that others can go on elsewhere.
    Moving,
    /// The system is out of something: nothing is asked for until a while has passed.
    Resting,
}

/// A listening socket and its accepts.
struct ListeningSocket {
    /// `None` once it was stopped or closed.
    source: Option<ListenSource>,
    /// It was stopped, and its name stays its own until it is closed.
    is_stopped: bool,
    /// Where its accepts are under way.
    ring: usize,
    accepting: Accepting,
    /// Places without an accept.
    empty: Vec<u16>,
    /// Where the kernel writes who it is; boxed, because accepts under way point into it.
    peers: Box<[UnsafeCell<AcceptedAddress>]>,
}

/// A `sockaddr` of either family of IP as `accept` writes it.
#[repr(C)]
struct AcceptedAddress {
    bytes: [u8; IP_ADDRESS_MAX_BYTES],
    len: libc::socklen_t,
}

impl ListenSource {
    fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_fd().as_raw_fd(),
        }
    }
}

impl ListeningSocket {
    fn new(source: ListenSource, ring: usize) -> Self {
        // The peers of a Unix path have no address that says anything.
        let addresses = if matches!(source, ListenSource::Tcp(_)) { ACCEPTS_PER_TURN } else { 0 };
        Self {
            source: Some(source),
            is_stopped: false,
            ring,
            accepting: Accepting::On,
            empty: (0..ACCEPTS_PER_TURN).rev().collect(),
            peers: (0..addresses).map(|_| UnsafeCell::new(AcceptedAddress::EMPTY)).collect(),
        }
    }

    /// Places that have one.
    const fn under_way(&self) -> usize {
        ACCEPTS_PER_TURN as usize - self.empty.len()
    }

    /// Whether it was closed, and nothing of it is still to be told.
    const fn is_over(&self) -> bool {
        let is_closed = self.source.is_none() && !self.is_stopped;
        is_closed && self.under_way() == 0 && !matches!(self.accepting, Accepting::Resting)
    }

    /// An accept into an empty place; `None` where there is none.
    fn next_accept(&mut self, index: usize) -> Option<squeue::Entry> {
        let source = self.source.as_ref()?;
        let place = self.empty.pop()?;
        let (descriptor, user_data) = (Fd(source.descriptor()), accept_in(index, place));
        let entry = match source {
            ListenSource::Tcp(_) => {
                let peer = self.peers[usize::from(place)].get();
                // SAFETY: the place was empty, so that neither an accept nor a reference points into it.
                let (bytes, len) = unsafe {
                    (*peer).len = AcceptedAddress::EMPTY.len;
                    (&raw mut (*peer).bytes, &raw mut (*peer).len)
                };
                opcode::Accept::new(descriptor, bytes.cast(), len).file_index(Some(DestinationSlot::auto_target()))
            }
            ListenSource::Unix(_) => {
                opcode::Accept::new(descriptor, std::ptr::null_mut(), std::ptr::null_mut()).flags(libc::SOCK_CLOEXEC)
            }
        };
        Some(entry.build().user_data(user_data))
    }

    /// Who has connected in `place`, now that its accept has ended.
    fn accepted_address(&self, place: u16) -> Option<PeerAddress> {
        // SAFETY: the accept has ended, so that the kernel has written what it would, and nobody else holds the place.
        let peer = unsafe { &*self.peers[usize::from(place)].get() };
        read_ip_address(&peer.bytes[..peer.bytes.len().min(peer.len as usize)]).map(PeerAddress::Ip)
    }
}

impl AcceptedAddress {
    const EMPTY: Self = Self { bytes: [0; IP_ADDRESS_MAX_BYTES], len: IP_ADDRESS_MAX_BYTES as libc::socklen_t };
}

impl Listeners {
    /// Accepts the first connections from `source`. It may have the name of one that is over.
    pub(super) fn add(&mut self, rings: &mut Rings, source: ListenSource) -> ListenerId {
        let listener = ListeningSocket::new(source, rings.choose_adopting());
        let index = self.all.iter().position(ListeningSocket::is_over).unwrap_or(self.all.len());
        match self.all.get_mut(index) {
            Some(over) => *over = listener,
            None => self.all.push(listener),
        }
        self.accept_more(rings);
        ListenerId(u8::try_from(index).expect("a configuration lists a handful of listeners"))
    }

    /// Asks for as many connections of each listener as were told since the last call. Costs nothing where none were.
    pub(super) fn accept_more(&mut self, rings: &mut Rings) {
        for index in 0..self.all.len() {
            let listener = &self.all[index];
            if listener.empty.is_empty() || listener.source.is_none() || listener.accepting == Accepting::Resting {
                continue;
            }
            let ring = &rings.all[listener.ring];
            if ring.room() > ring.reserve() {
                self.all[index].accepting = Accepting::On;
            } else if !self.move_accepts(rings, index) {
                continue;
            }
            self.fill_places(rings, index);
        }
    }

    /// Fills a listener's empty places, as far as its ring has slots for what they may bring, and leaves the others their part of them.
    fn fill_places(&mut self, rings: &mut Rings, index: usize) {
        let ring = self.all[index].ring;
        let listeners = self.all.iter().filter(|listener| listener.ring == ring);
        let under_way: usize = listeners.map(ListeningSocket::under_way).sum();
        let (room, share) = (rings.all[ring].room() as usize, self.share_of(rings, ring));
        for _ in under_way..room {
            if self.all[index].under_way() >= share {
                break;
            }
            let Some(entry) = self.all[index].next_accept(index) else { break };
            // SAFETY: `peers` is boxed, and is there until the accept has ended: a plane that is dropped calls `end_all`.
            // The operation holds the listener's file itself once it was submitted.
            unsafe { rings.push(ring, &entry) };
        }
        if self.all[index].under_way() == 0 {
            self.end_accepts_above(rings, ring, share);
        }
    }

    /// How many accepts of each listener a ring's slots are enough for; one at least.
    fn share_of(&self, rings: &Rings, ring: usize) -> usize {
        (rings.all[ring].room() as usize / self.open_on(ring).max(1)).max(1)
    }

    /// Listeners that accept by a ring.
    fn open_on(&self, ring: usize) -> usize {
        self.all.iter().filter(|listener| listener.ring == ring && listener.source.is_some()).count()
    }

    /// Ends accepts of listeners to which nobody comes, so that another one has slots: their share has become smaller since they began.
    fn end_accepts_above(&self, rings: &mut Rings, ring: usize, share: usize) {
        for (index, listener) in self.all.iter().enumerate().filter(|(_, listener)| listener.ring == ring) {
            let places = (0..ACCEPTS_PER_TURN).filter(|place| !listener.empty.contains(place));
            for place in places.take(listener.under_way().saturating_sub(share)) {
                rings.cancel(ring, CancelBuilder::user_data(accept_in(index, place)));
            }
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
            listener.accepting = Accepting::On;
            listener.ring = chosen;
            return true;
        }
        if listener.accepting != Accepting::Moving {
            listener.accepting = Accepting::Moving;
            self.end_accepts(rings, index);
        }
        false
    }

    /// Whether a listener has not one accept under way although nothing keeps it from accepting but its ring, which has not a slot
    /// for each.
    pub(super) fn are_out_of_room(&self, rings: &Rings) -> bool {
        let starves = |listener: &ListeningSocket| {
            let is_short = (rings.all[listener.ring].room() as usize) < self.open_on(listener.ring);
            listener.source.is_some() && listener.accepting == Accepting::On && listener.under_way() == 0 && is_short
        };
        self.all.iter().any(starves)
    }

    /// Ends a listener's accepts; those that the kernel has completed already are still told.
    fn end_accepts(&self, rings: &mut Rings, index: usize) {
        let listener = &self.all[index];
        for place in (0..ACCEPTS_PER_TURN).filter(|place| !listener.empty.contains(place)) {
            rings.cancel(listener.ring, CancelBuilder::user_data(accept_in(index, place)));
        }
    }

    /// Stops accepting, until it is reopened or closed. Connections that the kernel has completed already may still be told.
    pub(super) fn stop(&mut self, rings: &mut Rings, listener: ListenerId) {
        let index = usize::from(listener.0);
        self.end_accepts(rings, index);
        // The kernel must have taken every entry that names the descriptor before the number can mean another file.
        rings.enter_all();
        self.all[index].source = None;
        self.all[index].is_stopped = true;
    }

    /// Stops accepting for good, also what was stopped before: its name may be another's from now on.
    pub(super) fn close(&mut self, rings: &mut Rings, listener: ListenerId) {
        self.stop(rings, listener);
        self.all[usize::from(listener.0)].is_stopped = false;
    }

    /// Connections that come from now on have these options. One that is closed, or at a path, has none.
    pub(super) fn set_options(&self, listener: ListenerId, config: &ListenConfig) -> Result<(), RingError> {
        match &self.all[usize::from(listener.0)].source {
            Some(ListenSource::Tcp(socket)) => config.set_options(socket),
            _ => Ok(()),
        }
    }

    /// Accepts again, by another socket, with a listener that was stopped. What is still under way of before fills no place that is new.
    pub(super) fn reopen(&mut self, rings: &mut Rings, listener: ListenerId, source: ListenSource) {
        let known = &mut self.all[usize::from(listener.0)];
        assert!(known.is_stopped, "a listener is opened again after it was stopped");
        known.is_stopped = false;
        known.source = Some(source);
        self.accept_more(rings);
    }

    pub(super) fn on_accept(&mut self, rings: &mut Rings, completion: Completion) -> Option<SocketEvent> {
        let payload = payload_of(completion.user_data);
        let (index, place) = ((payload >> 16) as usize, payload as u16);
        let listener = &mut self.all[index];
        listener.empty.push(place);
        let id = ListenerId(index as u8);
        let errno = match (completion.result, listener.peers.is_empty()) {
            (0.., false) => {
                let ring = usize::from(completion.ring);
                rings.all[ring].open += 1;
                let socket = SocketId::new(ring, completion.value());
                if let Some(peer) = listener.accepted_address(place) {
                    return Some(SocketEvent::Accepted { listener: id, socket, peer });
                }
                rings.free_slot(socket);
                libc::EAFNOSUPPORT
            }
            (0.., true) => match install_unix(rings, completion) {
                Ok((socket, peer)) => return Some(SocketEvent::Accepted { listener: id, socket, peer }),
                Err(error) => error.errno(),
            },
            (result, _) if result == -libc::ECANCELED => return None,
            (result, _) => -result,
        };
        rings.counters.accept_failures += 1;
        // These are the fault of one peer, and the next may be fine. Everything else is the system's.
        let of_peer = [libc::ECONNABORTED, libc::EPROTO, libc::EINTR, libc::EPERM, libc::EAFNOSUPPORT];
        if !of_peer.contains(&errno) {
            self.rest(rings, index);
        }
        Some(SocketEvent::AcceptFailed { listener: id, errno })
    }

    /// Lets accepting rest: there is no descriptor or no memory for a connection, and trying at once would spin.
    fn rest(&mut self, rings: &mut Rings, index: usize) {
        if std::mem::replace(&mut self.all[index].accepting, Accepting::Resting) == Accepting::Resting {
            return;
        }
        let entry = opcode::Timeout::new(&raw const ACCEPT_PAUSE).build().user_data(Op::AcceptPause.with(index as u64));
        // SAFETY: the time is static.
        unsafe { rings.push(0, &entry) };
    }

    pub(super) fn on_rested(&mut self, index: usize) {
        self.all[index].accepting = Accepting::On;
    }

    /// Ends every accept, and returns when none points here any more. Descriptors that came last are closed.
    pub(super) fn end_all(&self, rings: &mut Rings) {
        for listener in &self.all {
            if let Some(source) = &listener.source {
                rings.all[listener.ring].end_all(source.descriptor());
            }
        }
        if self.all.iter().all(|listener| !listener.peers.is_empty()) {
            return;
        }
        for index in 0..rings.all.len() {
            rings.reap(index);
        }
        for completion in &rings.completed {
            let index = (payload_of(completion.user_data) >> 16) as usize;
            let is_accept = Op::of(completion.user_data) == Op::Accept && completion.result >= 0;
            if is_accept && self.all[index].peers.is_empty() {
                drop(accepted_descriptor(*completion));
            }
        }
    }
}

/// The user data of an accept.
const fn accept_in(index: usize, place: u16) -> u64 {
    Op::Accept.with((index as u64) << 16 | place as u64)
}

/// A connection to a Unix path: asks who it is, and moves it into the ring's table.
fn install_unix(rings: &mut Rings, completion: Completion) -> Result<(SocketId, PeerAddress), RingError> {
    let socket = accepted_descriptor(completion);
    let peer = peer_of(&socket)?;
    Ok((rings.install(completion.ring.into(), socket)?, PeerAddress::Unix(peer)))
}

/// The descriptor that an accept from a Unix path has made. Each completion is asked once.
fn accepted_descriptor(completion: Completion) -> OwnedFd {
    // SAFETY: the kernel made the descriptor for this completion, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(completion.result) }
}
