//! Sockets move between planes on different threads.

use super::*;
use crate::ids::{ConnectionId, SocketId, Ticket};
use std::sync::mpsc;

const CONNECTIONS: u32 = 50;

#[test]
fn a_socket_moves_to_another_thread_and_no_byte_is_lost_on_the_way() {
    let (handles, handle) = mpsc::channel();
    let target = std::thread::spawn(move || adopt_all(&handles));

    let target_handle = handle.recv().unwrap();
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let clients: Vec<_> = (0..CONNECTIONS).map(|slot| std::thread::spawn(move || talk(address, slot as u8))).collect();

    let mut before: HashMap<u32, (SocketId, Vec<u8>)> = HashMap::new();
    let (mut accepted, mut moved) = (0, 0);
    while moved < CONNECTIONS {
        match next(&mut plane) {
            SocketEvent::Accepted { socket, .. } => {
                before.insert(accepted, (socket, Vec::new()));
                plane.receive_once(socket, ConnectionId::new(accepted, 0));
                accepted += 1;
            }
            SocketEvent::Received { connection, buffer, more } => {
                assert!(!more);
                let (socket, bytes) = before.get_mut(&connection.slot).unwrap();
                bytes.extend_from_slice(plane.bytes(&buffer));
                plane.give_back(buffer);
                plane.hand_over(*socket, Ticket::new(0x00ab_cdef << 16 | u64::from(connection.slot)), &target_handle);
            }
            SocketEvent::ReceiveEnded { connection, cause: EndCause::OutOfBuffers } => {
                plane.receive_once(before[&connection.slot].0, connection);
            }
            SocketEvent::HandedOver { ticket } => {
                assert_eq!(ticket.bits() >> 16, 0x00ab_cdef);
                moved += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    plane.submit().unwrap();
    assert_eq!(plane.sockets(), 0);
    for client in clients {
        client.join().unwrap();
    }
    let after = target.join().unwrap();
    let mut seen = [false; CONNECTIONS as usize];
    for (slot, (_, bytes)) in before {
        let all = [bytes, after.get(&slot).cloned().unwrap_or_default()].concat();
        let peer = all[7];
        let expected: Vec<u8> = (0..200_u8).flat_map(|n| [peer, n]).collect();
        assert!(all.starts_with(b"connect") && all[7..] == expected, "slot {slot}");
        assert!(!std::mem::replace(&mut seen[usize::from(peer)], true));
    }
}

/// The target: takes all sockets, hears what comes over them, answers at their end.
fn adopt_all(handles: &mpsc::Sender<PlaneHandle>) -> HashMap<u32, Vec<u8>> {
    let mut plane = Plane::new(small()).unwrap();
    handles.send(plane.handle()).unwrap();
    let mut sockets = HashMap::new();
    let mut heard: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut ended = 0;
    while ended < CONNECTIONS {
        match next(&mut plane) {
            SocketEvent::Adopted { ticket, socket } => {
                let slot = (ticket.bits() & 0xffff) as u32;
                assert_eq!(ticket.bits() >> 16, 0x00ab_cdef);
                sockets.insert(slot, socket);
                plane.receive_multi(socket, ConnectionId::new(slot, 7));
            }
            SocketEvent::Received { connection, buffer, more } => {
                assert_eq!(connection.generation(), 7);
                heard.entry(connection.slot).or_default().extend_from_slice(plane.bytes(&buffer));
                plane.give_back(buffer);
                if !more {
                    plane.receive_multi(sockets[&connection.slot], connection);
                }
            }
            SocketEvent::ReceiveEnded { connection, cause: EndCause::OutOfBuffers } => {
                plane.receive_multi(sockets[&connection.slot], connection);
            }
            SocketEvent::ReceiveEnded { connection, cause } => {
                assert_eq!(cause, EndCause::Eof);
                let socket = sockets[&connection.slot];
                send_all(&mut plane, socket, connection, b"heard you");
                plane.close(socket, UnderWay::Nothing);
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    plane.submit().unwrap();
    assert_eq!(plane.sockets(), 0);
    heard
}

/// A client that goes on while its socket is taken from one plane to the other.
fn talk(address: std::net::SocketAddr, slot: u8) {
    let mut peer = client(address);
    peer.write_all(b"connect").unwrap();
    for n in 0..200_u8 {
        peer.write_all(&[slot, n]).unwrap();
    }
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"heard you");
}

#[test]
fn a_target_without_room_leaves_the_socket_where_it_was() {
    let (handles, handle) = mpsc::channel();
    let (done, finish) = mpsc::channel::<()>();
    let target = std::thread::spawn(move || {
        let mut plane = Plane::new(PlaneConfig { sockets_max: 1, ..small() }).unwrap();
        handles.send(plane.handle()).unwrap();
        let SocketEvent::Adopted { ticket, .. } = next(&mut plane) else { panic!("expected a socket") };
        assert_eq!(ticket, Ticket::new(0));
        while finish.try_recv().is_err() {
            sleep(&mut plane, Duration::from_millis(5));
            assert!(plane.next_event().is_none());
        }
    });
    let target_handle = handle.recv().unwrap();
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let _first = client(address);
    let first_socket = accept(&mut plane);
    let mut second = client(address);
    let second_socket = accept(&mut plane);
    plane.hand_over(first_socket, Ticket::new(0), &target_handle);
    assert!(matches!(next(&mut plane), SocketEvent::HandedOver { .. }));
    plane.hand_over(second_socket, Ticket::new(1), &target_handle);
    match next(&mut plane) {
        SocketEvent::HandOverFailed { ticket, socket, errno } => {
            assert_eq!((ticket, socket, errno), (Ticket::new(1), second_socket, libc::ENFILE));
        }
        other => panic!("{other:?}"),
    }
    send_all(&mut plane, second_socket, ConnectionId::new(1, 0), b"still here");
    let mut answer = [0; 10];
    second.read_exact(&mut answer).unwrap();
    assert_eq!((&answer, plane.sockets()), (b"still here", 1));
    done.send(()).unwrap();
    target.join().unwrap();
}

#[test]
fn a_target_that_is_gone_leaves_the_socket_where_it_was() {
    let gone = std::thread::spawn(|| Plane::new(small()).unwrap().handle()).join().unwrap();
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let _peer = client(address);
    let socket = accept(&mut plane);
    gone.wake();
    plane.hand_over(socket, Ticket::new(5), &gone);
    match next(&mut plane) {
        SocketEvent::HandOverFailed { socket: kept, errno, .. } => assert_eq!((kept, errno), (socket, libc::EBADF)),
        other => panic!("{other:?}"),
    }
}
