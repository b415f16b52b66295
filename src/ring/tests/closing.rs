//! Many that are closed at once.

use super::*;
use crate::limits::{CLOSES_PER_ENTRY, CLOSES_WAITING_SHARE};

/// More than go with one entry into the kernel, twice.
const MANY: usize = 2 * CLOSES_PER_ENTRY + CLOSES_WAITING_SHARE;

/// A plane with so many connections that receive, and their peers.
fn connected(count: usize) -> (Plane, Vec<(SocketId, ConnectionId, TcpStream)>) {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut all = Vec::new();
    for slot in 0..count as u32 {
        let peer = client(address);
        plane.accept_more();
        let (socket, connection) = (accept(&mut plane), ConnectionId::new(slot, 0));
        plane.receive_multi(socket, connection);
        all.push((socket, connection, peer));
    }
    plane.submit().unwrap();
    (plane, all)
}

#[test]
fn many_that_are_closed_at_once_go_some_with_each_entry_and_in_their_order() {
    let (mut plane, mut all) = connected(MANY);
    for (socket, connection, _) in &all {
        plane.close(*socket, UnderWay::Receive(*connection));
    }
    assert_eq!(plane.rings.sockets() as usize, MANY, "none is closed before the kernel was entered");
    let first = CLOSES_PER_ENTRY + MANY / CLOSES_WAITING_SHARE;
    plane.submit().unwrap();
    assert_eq!(plane.rings.sockets() as usize, MANY - first);
    for (at, (_, _, peer)) in all.iter_mut().enumerate() {
        peer.set_nonblocking(true).unwrap();
        let read = peer.read(&mut [0]);
        if at < first {
            peer.set_nonblocking(false).unwrap();
            assert_eq!(read.or_else(|_| peer.read(&mut [0])).unwrap(), 0, "{at} is closed");
        } else {
            assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "{at} is not yet");
        }
    }
}

#[test]
fn nobody_sleeps_while_one_is_to_be_closed() {
    let (mut plane, all) = connected(MANY);
    for (socket, connection, _) in &all {
        plane.close(*socket, UnderWay::Receive(*connection));
    }
    let mut waits = 0;
    assert_eq!(plane.sockets(), 0, "they are the caller's no more");
    while plane.rings.sockets() > 0 {
        // Would wait for ever.
        plane.wait(None, || true).unwrap();
        while plane.next_event().is_some() {}
        waits += 1;
    }
    assert_eq!(waits, 4, "{MANY} of them");
    for (_, _, mut peer) in all {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_receive_that_has_ended_meanwhile_is_not_looked_for_and_one_that_has_not_is_ended() {
    let (mut plane, mut all) = connected(2);
    let (silent_socket, silent, silent_peer) = all.pop().unwrap();
    let (gone_socket, gone, gone_peer) = all.pop().unwrap();
    plane.close(gone_socket, UnderWay::Receive(gone));
    plane.close(silent_socket, UnderWay::Receive(silent));
    drop(gone_peer);
    let deadline = Instant::now() + PATIENCE;
    while !plane.collect().unwrap() {
        assert!(Instant::now() < deadline, "the peer's end does not come");
    }
    assert_eq!(plane.next_event().map(|event| format!("{event:?}")), {
        let event = SocketEvent::ReceiveEnded { connection: gone, cause: EndCause::Eof };
        Some(format!("{event:?}"))
    });
    assert!(!plane.closing.is_receiving(gone) && plane.closing.is_receiving(silent));
    assert_eq!(ended(&mut plane), (silent, EndCause::Cancelled));
    assert!(!plane.closing.is_receiving(silent));
    let mut silent_peer = silent_peer;
    assert_eq!(silent_peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(plane.rings.sockets(), 0);
}
