//! Outgoing connections: made, refused, spread over sources and rings, and given up.

use super::*;
use crate::ids::{ConnectionId, SocketId};
use std::net::{IpAddr, TcpListener};

fn connected(plane: &mut Plane) -> (ConnectionId, Option<i32>) {
    match next(plane) {
        SocketEvent::Connected { connection, error } => (connection, error),
        other => panic!("expected a connection: {other:?}"),
    }
}

#[test]
fn a_connection_is_made_and_carries_bytes_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plane = Plane::new(small()).unwrap();
    let connection = ConnectionId::new(7, 3);
    let socket = plane.connect(listener.local_addr().unwrap(), None, connection).unwrap();
    assert_eq!(connected(&mut plane), (connection, None));
    let (mut peer, _) = listener.accept().unwrap();
    plane.receive_multi(socket, connection);
    peer.write_all(b"to the client").unwrap();
    assert_eq!(received(&mut plane).1, b"to the client");
    send_all(&mut plane, socket, connection, b"to the server");
    let mut bytes = [0; 13];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the server");
    assert_eq!(plane.sockets(), 1);
    plane.close(socket, UnderWay::Receive(connection));
    plane.submit().unwrap();
    assert_eq!((peer.read(&mut bytes).unwrap(), plane.sockets()), (0, 0));
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut plane = Plane::new(small()).unwrap();
    let socket = plane.connect(address, None, ConnectionId::new(1, 0)).unwrap();
    assert_eq!(connected(&mut plane), (ConnectionId::new(1, 0), Some(libc::ECONNREFUSED)));
    plane.close(socket, UnderWay::Nothing);
    assert_eq!(plane.sockets(), 0);
}

#[test]
fn a_connection_comes_from_the_address_that_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plane = Plane::new(small()).unwrap();
    for source in ["127.0.0.2", "127.11.12.13"] {
        let source: IpAddr = source.parse().unwrap();
        plane.connect(listener.local_addr().unwrap(), Some(source), ConnectionId::new(0, 0)).unwrap();
        assert_eq!(connected(&mut plane).1, None);
        assert_eq!(listener.accept().unwrap().1.ip(), source);
    }
    let elsewhere =
        plane.connect(listener.local_addr().unwrap(), Some("192.0.2.1".parse().unwrap()), ConnectionId::new(0, 0));
    assert_eq!(elsewhere.unwrap_err().errno(), libc::EADDRNOTAVAIL);
    assert_eq!(plane.sockets(), 2);
}

#[test]
fn connections_fill_ring_after_ring_and_slots_are_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut plane = Plane::new(PlaneConfig { sockets_max: 12, ring_sockets_max: 5, ..small() }).unwrap();
    for round in 0..3 {
        let sockets: Vec<SocketId> =
            (0..12).map(|slot| plane.connect(address, None, ConnectionId::new(slot, round)).unwrap()).collect();
        assert_eq!(plane.connect(address, None, ConnectionId::new(12, round)).unwrap_err().errno(), libc::ENFILE);
        plane.submit().unwrap();
        let mut peers: Vec<TcpStream> = (0..12).map(|_| listener.accept().unwrap().0).collect();
        let mut seen: Vec<u32> = (0..12).map(|_| connected(&mut plane).0.slot).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
        assert_eq!((plane.rings.all.len(), plane.sockets()), (3, 12));
        for socket in sockets {
            plane.close(socket, UnderWay::Nothing);
        }
        plane.submit().unwrap();
        for peer in &mut peers {
            assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0, "the connection is closed");
        }
    }
}

#[test]
fn waiting_for_a_peer_that_does_not_answer_can_be_given_up() {
    for by_name in [false, true] {
        give_up(|connection| if by_name { UnderWay::Connect(connection) } else { UnderWay::Anything });
    }
}

fn give_up(under_way: impl Fn(ConnectionId) -> UnderWay) {
    // A full backlog: the kernel drops the handshakes of whoever comes next.
    let mut plane = Plane::new(small()).unwrap();
    let config = ListenConfig { backlog: 0, ..loopback() };
    let (_listener, address) = config.open().unwrap();
    let sockets: Vec<SocketId> =
        (0..4).map(|slot| plane.connect(address, None, ConnectionId::new(slot, 0)).unwrap()).collect();
    assert_eq!(connected(&mut plane), (ConnectionId::new(0, 0), None));
    let last = ConnectionId::new(3, 0);
    plane.close(sockets[3], under_way(last));
    loop {
        let (connection, error) = connected(&mut plane);
        if connection == last {
            assert_eq!(error, Some(libc::ECANCELED));
            break;
        }
    }
}

#[test]
fn a_peer_that_speaks_is_told_of_before_one_that_is_silent() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&ListenConfig { defer_accept_s: Some(1), ..loopback() }).unwrap();
    plane.submit().unwrap();
    let _silent = client(address);
    let mut speaking = client(address);
    speaking.write_all(b"hello").unwrap();
    let (first, connection) = (accept(&mut plane), ConnectionId::new(0, 0));
    plane.receive_once(first, connection);
    plane.submit().unwrap();
    assert_eq!(received(&mut plane), (connection, b"hello".to_vec(), false));
    // The other is told of as well, in its time.
    let second = accept(&mut plane);
    assert_ne!(first, second);
}
