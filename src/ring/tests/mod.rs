//! Loopback tests of the plane, against plain blocking clients.

mod closing;
mod connecting;
mod datagrams;
mod disk;
mod lifecycle;
mod moving;
mod receiving;
mod sending;
mod sleeping;
mod table;
mod unix;
mod waiting;

use super::one::Completion;
use super::user_data::Op;
use super::*;
use crate::ids::{ConnectionId, SocketId};
use crate::limits;
use bytes::Bytes;
use io_uring::opcode;
use io_uring::types::Fixed;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Generous, because the machine may be busy; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

fn small() -> PlaneConfig {
    PlaneConfig {
        entries: 16,
        completions: 64,
        sockets_max: 256,
        ring_sockets_max: 256,
        buffers: 16,
        buffer_bytes: 512,
    }
}

fn loopback() -> ListenConfig {
    ListenConfig::new("127.0.0.1:0".parse().unwrap())
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sleeps as a pump does, on a thread of its own. False after `patience`.
fn sleep(plane: &mut Plane, patience: Duration) -> bool {
    plane.submit().unwrap();
    let mut woken = true;
    if plane.prepare_sleep() {
        woken = wait_readable(plane.eventfd(), patience);
        if woken {
            drain(plane.eventfd());
        }
        plane.awake();
        plane.submit().unwrap();
    }
    woken
}

fn wait_readable(eventfd: BorrowedFd, patience: Duration) -> bool {
    let patience = rustix::time::Timespec::try_from(patience).unwrap();
    let mut polled = [PollFd::from_borrowed_fd(eventfd, PollFlags::IN)];
    poll(&mut polled, Some(&patience)).unwrap() == 1
}

/// Takes what was signalled, and tells how often it was.
fn drain(eventfd: BorrowedFd) -> u64 {
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(eventfd, &mut count), Ok(8));
    u64::from_ne_bytes(count)
}

/// Sleeps until there is an event, and asks for no further connections.
fn sleep_until_event(plane: &mut Plane) {
    let deadline = Instant::now() + PATIENCE;
    while plane.rings.completed.is_empty() {
        assert!(Instant::now() < deadline, "nothing happened");
        sleep(plane, PATIENCE);
    }
}

/// The next event; sleeps until there is one.
fn next(plane: &mut Plane) -> SocketEvent {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = plane.next_event() {
            return event;
        }
        assert!(Instant::now() < deadline, "nothing happened");
        plane.accept_more();
        sleep(plane, PATIENCE);
    }
}

/// That nothing happens for a while.
fn quiet(plane: &mut Plane) {
    let until = Instant::now() + Duration::from_millis(50);
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| left.as_millis() > 0) {
        sleep(plane, left);
        if let Some(event) = plane.next_event() {
            panic!("unexpected {event:?}");
        }
    }
}

fn accept(plane: &mut Plane) -> SocketId {
    match next(plane) {
        SocketEvent::Accepted { socket, .. } => socket,
        other => panic!("expected a connection: {other:?}"),
    }
}

/// One received chunk, its buffer given back.
fn received(plane: &mut Plane) -> (ConnectionId, Vec<u8>, bool) {
    match next(plane) {
        SocketEvent::Received { connection, buffer, more } => {
            let bytes = plane.bytes(&buffer).to_vec();
            assert_eq!((bytes.len(), buffer.is_empty()), (buffer.len(), false));
            plane.give_back(buffer);
            (connection, bytes, more)
        }
        other => panic!("expected bytes: {other:?}"),
    }
}

fn ended(plane: &mut Plane) -> (ConnectionId, EndCause) {
    match next(plane) {
        SocketEvent::ReceiveEnded { connection, cause } => (connection, cause),
        other => panic!("expected the end: {other:?}"),
    }
}

/// Sends all of it, whatever it takes; the peer must be reading.
fn send_all(plane: &mut Plane, socket: SocketId, connection: ConnectionId, bytes: &[u8]) {
    let short = plane.flush(|batch| batch.send(socket, connection, bytes)).unwrap().to_vec();
    let Some(short) = short.first() else { return };
    assert_eq!((short.connection, short.error), (connection, None));
    plane.send_rest(socket, connection, Bytes::copy_from_slice(&bytes[short.sent..]));
    match next(plane) {
        SocketEvent::Sent { bytes, sent, error, .. } => assert_eq!((sent, error), (bytes.len(), None)),
        other => panic!("expected the rest to be sent: {other:?}"),
    }
}

/// An echo server in the shape of a pump: events, then one flush, then sleep. Runs until all clients have gone.
#[derive(Default)]
struct Echo {
    connections: HashMap<u32, Connection>,
    starved: Vec<u32>,
    accepted: u32,
}

struct Connection {
    socket: SocketId,
    outbox: Vec<u8>,
    /// A `send_rest` is under way.
    waiting: bool,
    eof: bool,
}

impl Echo {
    fn run(&mut self, plane: &mut Plane, clients: u32) {
        let deadline = Instant::now() + PATIENCE;
        while self.accepted < clients || !self.connections.is_empty() {
            assert!(Instant::now() < deadline, "stuck with {} connections", self.connections.len());
            sleep(plane, PATIENCE);
            while let Some(event) = plane.next_event() {
                self.handle(plane, event);
            }
            plane.accept_more();
            self.send(plane);
            for slot in std::mem::take(&mut self.starved) {
                let Some(connection) = self.connections.get(&slot) else { continue };
                if plane.buffers_free(connection.socket) > 0 {
                    plane.receive_multi(connection.socket, ConnectionId::new(slot, 0));
                } else {
                    self.starved.push(slot);
                }
            }
        }
        plane.submit().unwrap();
    }

    fn handle(&mut self, plane: &mut Plane, event: SocketEvent) {
        match event {
            SocketEvent::Accepted { socket, .. } => {
                let slot = self.accepted;
                self.accepted += 1;
                plane.receive_multi(socket, ConnectionId::new(slot, 0));
                self.connections.insert(slot, Connection { socket, outbox: Vec::new(), waiting: false, eof: false });
            }
            SocketEvent::Received { connection: id, buffer, more } => {
                let connection = self.connections.get_mut(&id.slot).unwrap();
                connection.outbox.extend_from_slice(plane.bytes(&buffer));
                plane.give_back(buffer);
                if !more {
                    plane.receive_multi(connection.socket, id);
                }
            }
            SocketEvent::ReceiveEnded { connection: id, cause: EndCause::OutOfBuffers } => self.starved.push(id.slot),
            SocketEvent::ReceiveEnded { connection: id, cause } => {
                assert_eq!(cause, EndCause::Eof);
                self.connections.get_mut(&id.slot).unwrap().eof = true;
            }
            SocketEvent::Sent { connection: id, error, .. } => {
                assert_eq!(error, None);
                self.connections.get_mut(&id.slot).unwrap().waiting = false;
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn send(&mut self, plane: &mut Plane) {
        let connections = &self.connections;
        let dirty = connections.iter().filter(|(_, connection)| !connection.waiting && !connection.outbox.is_empty());
        let dirty: Vec<u32> = dirty.map(|(&slot, _)| slot).collect();
        let short = plane.flush(|batch| {
            for slot in &dirty {
                batch.send(connections[slot].socket, ConnectionId::new(*slot, 0), &connections[slot].outbox);
            }
        });
        let short = short.unwrap().to_vec();
        for slot in dirty {
            let connection = self.connections.get_mut(&slot).unwrap();
            let outbox = std::mem::take(&mut connection.outbox);
            if let Some(short) = short.iter().find(|short| short.connection.slot == slot) {
                assert_eq!(short.error, None);
                connection.waiting = true;
                plane.send_rest(connection.socket, short.connection, Bytes::from(outbox).slice(short.sent..));
            }
        }
        self.connections.retain(|_, connection| {
            let done = connection.eof && connection.outbox.is_empty() && !connection.waiting;
            if done {
                plane.close(connection.socket, UnderWay::Nothing);
            }
            !done
        });
    }
}

impl Plane {
    /// A socket as a descriptor that system calls know, to look at its options (Linux 6.8).
    pub(crate) fn as_file(&mut self, socket: SocketId) -> OwnedFd {
        let entry = opcode::FixedFdInstall::new(Fixed(socket.slot()), 0).build().user_data(Op::Install.with(0));
        // SAFETY: the operation has no memory.
        unsafe { self.rings.push(socket.ring(), &entry) };
        self.rings.enter(socket.ring());
        let is_ours = |completion: &Completion| Op::of(completion.user_data) == Op::Install;
        let at = self.rings.completed.iter().position(is_ours).expect("the kernel does it as it takes it");
        let descriptor = self.rings.completed.remove(at).expect("just found").result;
        assert!(descriptor >= 0, "{}", std::io::Error::from_raw_os_error(-descriptor));
        // SAFETY: the descriptor was just made and nobody else owns it.
        unsafe { OwnedFd::from_raw_fd(descriptor) }
    }
}
