//! How connections begin and end, and that a late word about one is never taken for another.

use super::*;
use crate::ids::{ConnectionId, PeerAddress};
use rustix::net::sockopt;

#[test]
fn a_late_completion_carries_the_generation_of_the_connection_it_was_for() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut first = client(address);
    let old_socket = accept(&mut plane);
    let (old, new) = (ConnectionId::new(0, 1), ConnectionId::new(0, 2));
    plane.receive_multi(old_socket, old);
    plane.submit().unwrap();
    first.write_all(b"for nobody any more").unwrap();
    plane.close(old_socket, UnderWay::Receive(old));
    plane.submit().unwrap();

    let mut second = client(address);
    let mut socket = None;
    let mut late = Vec::new();
    while socket.is_none() || late.last() != Some(&EndCause::Cancelled) {
        match next(&mut plane) {
            SocketEvent::Accepted { socket: accepted, .. } => socket = Some(accepted),
            SocketEvent::Received { connection, buffer, .. } => {
                assert_eq!(connection, old);
                plane.give_back(buffer);
            }
            SocketEvent::ReceiveEnded { connection, cause } => {
                assert_eq!(connection, old);
                late.push(cause);
            }
            other => panic!("{other:?}"),
        }
    }
    let socket = socket.unwrap();
    assert_eq!(socket, old_socket, "the slot is used again");
    plane.receive_multi(socket, new);
    second.write_all(b"hello").unwrap();
    assert_eq!(received(&mut plane), (new, b"hello".to_vec(), true));
}

#[test]
fn close_delivers_what_was_sent() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let (socket, connection) = (accept(&mut plane), ConnectionId::new(0, 0));
    plane.receive_multi(socket, connection);
    send_all(&mut plane, socket, connection, b"goodbye");
    plane.close(socket, UnderWay::Receive(connection));
    plane.submit().unwrap();
    let mut last = Vec::new();
    peer.read_to_end(&mut last).unwrap();
    assert_eq!(last, b"goodbye");
}

#[test]
fn abort_resets_the_connection_and_keeps_nothing() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    plane.receive_multi(socket, ConnectionId::new(0, 0));
    plane.submit().unwrap();
    plane.abort(socket, UnderWay::Receive(ConnectionId::new(0, 0)));
    assert_eq!(ended(&mut plane).1, EndCause::Cancelled);
    assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(plane.sockets(), 0);
}

#[test]
fn after_finish_sending_the_peer_reads_to_the_end_and_may_still_speak() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    plane.receive_multi(socket, ConnectionId::new(0, 0));
    send_all(&mut plane, socket, ConnectionId::new(0, 0), b"reason");
    plane.finish_sending(socket, ConnectionId::new(0, 0));
    plane.submit().unwrap();
    let mut last = Vec::new();
    peer.read_to_end(&mut last).unwrap();
    assert_eq!(last, b"reason");
    assert!(matches!(next(&mut plane), SocketEvent::Finished { connection } if connection == ConnectionId::new(0, 0)));
    peer.write_all(b"understood").unwrap();
    assert_eq!(received(&mut plane).1, b"understood");
    drop(peer);
    assert_eq!(ended(&mut plane).1, EndCause::Eof);
    plane.close(socket, UnderWay::Nothing);
}

#[test]
fn peers_are_named_over_ipv4_ipv6_and_ipv4_on_a_dual_stack_listener() {
    let mut plane = Plane::new(small()).unwrap();
    for (bind, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]"), ("[::]:0", "127.0.0.1")] {
        let (_, address) = plane.listen(&ListenConfig::new(bind.parse().unwrap())).unwrap();
        let peer = client(format!("{connect}:{}", address.port()).parse().unwrap());
        match next(&mut plane) {
            SocketEvent::Accepted { socket, peer: name, .. } => {
                assert_eq!(name, PeerAddress::Ip(peer.local_addr().unwrap()), "{bind}");
                plane.close(socket, UnderWay::Nothing);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_peer_that_is_gone_already_still_has_its_name() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let name = peer.local_addr().unwrap();
    peer.write_all(b"bye").unwrap();
    drop(peer);
    match next(&mut plane) {
        SocketEvent::Accepted { peer, .. } => assert_eq!(peer, PeerAddress::Ip(name)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_more_connections_come_than_were_asked_for_and_none_is_lost() {
    let turn = usize::from(limits::ACCEPTS_PER_TURN);
    let mut plane = Plane::new(PlaneConfig { sockets_max: 2_000, ring_sockets_max: 2_000, ..small() }).unwrap();
    let (listener, address) = plane.listen(&loopback()).unwrap();
    let peers: Vec<TcpStream> = (0..3 * turn + 5).map(|_| client(address)).collect();
    let mut names = Vec::new();
    for expected in [turn, turn, turn, 5] {
        for _ in 0..expected {
            sleep_until_event(&mut plane);
            match plane.next_event() {
                Some(SocketEvent::Accepted { peer, .. }) => names.push(ip_of(peer)),
                other => panic!("{other:?}"),
            }
        }
        quiet(&mut plane);
        plane.accept_more();
    }
    assert_eq!(plane.sockets() as usize, peers.len());
    let mut expected: Vec<SocketAddr> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    expected.sort_unstable();
    names.sort_unstable();
    assert_eq!(names, expected);

    // With all its places taken by accepts that wait, a listener still closes.
    plane.close_listener(listener);
    plane.accept_more();
    quiet(&mut plane);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_closed_listener_refuses_and_leaves_its_connections_alone() {
    let mut plane = Plane::new(small()).unwrap();
    let (listener, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    plane.receive_multi(socket, ConnectionId::new(0, 0));
    plane.close_listener(listener);
    quiet(&mut plane);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    peer.write_all(b"still here").unwrap();
    assert_eq!(received(&mut plane).1, b"still here");
}

#[test]
fn a_stopped_listener_keeps_its_name_until_it_is_closed() {
    let mut plane = Plane::new(small()).unwrap();
    let (first, address) = plane.listen(&loopback()).unwrap();
    plane.stop_listener(first);
    quiet(&mut plane);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let (second, _) = plane.listen(&loopback()).unwrap();
    assert_ne!(first, second);
    plane.reopen_listener(first, &ListenConfig::new(address)).unwrap();
    let _peer = client(address);
    assert!(matches!(next(&mut plane), SocketEvent::Accepted { listener, .. } if listener == first));
    plane.stop_listener(first);
    plane.close_listener(first);
    quiet(&mut plane);
    assert_eq!(plane.listen(&loopback()).unwrap().0, first);
}

#[test]
fn accepted_sockets_have_the_keep_alive_and_the_timeout_of_their_listener() {
    let mut plane = Plane::new(small()).unwrap();
    let keep_alive = TcpKeepAlive { idle_s: 61, interval_s: 17, count: 5 };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let plain = ListenConfig::new(address.parse().unwrap());
        let (_, address) = plane.listen(&plain).unwrap();
        let _peer = client(address);
        let socket = accept(&mut plane);
        let socket = plane.as_file(socket);
        assert!(!sockopt::socket_keepalive(&socket).unwrap(), "{address}");
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 0);

        let config = ListenConfig { keep_alive: Some(keep_alive), user_timeout_ms: Some(90_000), ..plain };
        let (_, address) = plane.listen(&config).unwrap();
        let _peer = client(address);
        let socket = accept(&mut plane);
        let socket = plane.as_file(socket);
        assert!(sockopt::socket_keepalive(&socket).unwrap(), "{address}");
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), Duration::from_secs(61));
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), Duration::from_secs(17));
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 5);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 90_000);
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
    }
}

#[test]
fn a_keep_alive_that_the_system_does_not_know_is_refused_at_start() {
    let mut plane = Plane::new(small()).unwrap();
    let keep_alive = TcpKeepAlive { idle_s: 100_000, interval_s: 1, count: 1 };
    let error = plane.listen(&ListenConfig { keep_alive: Some(keep_alive), ..loopback() }).unwrap_err();
    assert_eq!((error.errno(), error.to_string().contains("keep-alive")), (libc::EINVAL, true), "{error}");
}

fn ip_of(peer: PeerAddress) -> SocketAddr {
    match peer {
        PeerAddress::Ip(address) => address,
        PeerAddress::Unix(unix) => panic!("a TCP listener told of {unix:?}"),
    }
}
