//! UDP: datagrams come and go whole, truncated and empty, over both families, and not while they are not wanted.

use super::*;
use crate::ids::DatagramSocketId;
use std::net::UdpSocket;

fn bind(plane: &mut Plane, address: &str) -> (DatagramSocketId, SocketAddr) {
    plane.bind_datagram(&DatagramConfig::new(address.parse().unwrap())).unwrap()
}

/// A plane that receives, and a peer that talks to it.
fn pair(address: &str) -> (Plane, DatagramSocketId, UdpSocket) {
    let mut plane = Plane::new(small()).unwrap();
    let (socket, bound) = bind(&mut plane, address);
    plane.receive_datagrams(socket);
    plane.submit().unwrap();
    (plane, socket, peer_of(bound))
}

fn peer_of(address: SocketAddr) -> UdpSocket {
    let peer = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
    peer.connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

/// The next datagram, its buffer given back.
fn datagram(plane: &mut Plane) -> (SocketAddr, Vec<u8>, Completeness, bool) {
    match next(plane) {
        SocketEvent::Datagram { from, buffer, completeness, more, .. } => {
            let bytes = plane.bytes(&buffer).to_vec();
            assert_eq!((bytes.len(), bytes.is_empty()), (buffer.len(), buffer.is_empty()));
            plane.give_back(buffer);
            (from, bytes, completeness, more)
        }
        other => panic!("expected a datagram: {other:?}"),
    }
}

fn datagrams_ended(plane: &mut Plane) -> (DatagramSocketId, EndCause) {
    match next(plane) {
        SocketEvent::DatagramsEnded { socket, cause } => (socket, cause),
        other => panic!("expected the end: {other:?}"),
    }
}

#[test]
fn datagrams_are_told_with_their_sender_and_answered_over_both_families() {
    for (bind_to, talk_to) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
    {
        let mut plane = Plane::new(small()).unwrap();
        let (socket, bound) = bind(&mut plane, bind_to);
        plane.receive_datagrams(socket);
        plane.submit().unwrap();
        let peer = peer_of(SocketAddr::new(talk_to.parse().unwrap(), bound.port()));
        for text in [&b"one"[..], b"two", b"three"] {
            peer.send(text).unwrap();
            let whole = (peer.local_addr().unwrap(), text.to_vec(), Completeness::Whole, true);
            assert_eq!(datagram(&mut plane), whole, "{bind_to} {talk_to}");
            assert!(plane.flush(|batch| batch.send_datagram(socket, whole.0, text)).unwrap().is_empty());
            let mut answer = [0; 16];
            let len = peer.recv(&mut answer).unwrap();
            assert_eq!(&answer[..len], text);
        }
        quiet(&mut plane);
    }
}

#[test]
fn a_datagram_larger_than_a_buffer_is_truncated_and_says_so() {
    let (mut plane, _, peer) = pair("127.0.0.1:0");
    // 512 bytes, of which the kernel's header takes 16 and the address 28.
    let data: Vec<u8> = (0..2_000_u32).map(|n| n as u8).collect();
    for (sent, got, completeness) in [
        (467, 467, Completeness::Whole),
        (468, 468, Completeness::Whole),
        (469, 468, Completeness::Truncated),
        (2_000, 468, Completeness::Truncated),
        (1, 1, Completeness::Whole),
    ] {
        peer.send(&data[..sent]).unwrap();
        let (_, bytes, told, more) = datagram(&mut plane);
        assert!(bytes == data[..got] && more, "{sent}: {} bytes", bytes.len());
        assert_eq!(told, completeness, "{sent}");
    }
}

#[test]
fn an_empty_datagram_is_one_and_the_next_is_received_after_asking_again() {
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    peer.send(b"").unwrap();
    let (from, bytes, completeness, more) = datagram(&mut plane);
    assert_eq!((from, &bytes[..], completeness), (peer.local_addr().unwrap(), &b""[..], Completeness::Whole));
    assert!(!more, "the kernel takes an empty datagram for an end");
    peer.send(b"next").unwrap();
    quiet(&mut plane);
    plane.receive_datagrams(socket);
    assert_eq!(datagram(&mut plane).1, b"next");
    plane.flush(|batch| batch.send_datagram(socket, from, b"")).unwrap();
    assert_eq!(peer.recv(&mut [0; 4]).unwrap(), 0);
    assert_eq!(plane.buffers_free_for_datagrams(socket), 16);
}

#[test]
fn held_buffers_stop_receiving_and_later_datagrams_wait_in_the_socket() {
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    for n in 0..20_u8 {
        peer.send(&[n]).unwrap();
    }
    let mut held = Vec::new();
    loop {
        match next(&mut plane) {
            SocketEvent::Datagram { buffer, .. } => held.push(buffer),
            SocketEvent::DatagramsEnded { cause, .. } => break assert_eq!(cause, EndCause::OutOfBuffers),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((held.len(), plane.buffers_free_for_datagrams(socket)), (16, 0));
    assert_eq!(plane.counters().out_of_buffers, 1);
    quiet(&mut plane);
    let mut got = Vec::new();
    for buffer in held {
        got.extend_from_slice(plane.bytes(&buffer));
        plane.give_back(buffer);
    }
    plane.receive_datagrams(socket);
    while got.len() < 20 {
        got.extend(datagram(&mut plane).1);
    }
    assert_eq!(got, (0..20).collect::<Vec<u8>>());
}

#[test]
fn a_socket_that_is_not_listened_to_keeps_datagrams_and_is_heard_later() {
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    plane.stop_receiving_datagrams(socket);
    assert_eq!(datagrams_ended(&mut plane), (socket, EndCause::Cancelled));
    peer.send(b"kept").unwrap();
    quiet(&mut plane);
    plane.stop_receiving_datagrams(socket);
    quiet(&mut plane);
    plane.receive_datagrams(socket);
    assert_eq!(datagram(&mut plane).1, b"kept");
}

#[test]
fn a_closed_socket_receives_no_more_and_its_name_is_not_used_again() {
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    assert_eq!(plane.sockets(), 1);
    plane.close_datagram(socket);
    assert_eq!(datagrams_ended(&mut plane), (socket, EndCause::Cancelled));
    assert_eq!(plane.sockets(), 0);
    // The system says that nobody is there, at once or with the next send.
    assert!((0..100).any(|_| peer.send(b"anybody?").is_err()));
    let (other, _) = bind(&mut plane, "127.0.0.1:0");
    assert_ne!(other, socket);
}

#[test]
fn what_cannot_be_sent_is_told_and_counted() {
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    let too_long = vec![1; 70_000];
    let to = peer.local_addr().unwrap();
    plane.flush(|batch| batch.send_datagram(socket, to, &too_long)).unwrap();
    assert!(
        matches!(next(&mut plane), SocketEvent::DatagramNotSent { socket: told, errno: libc::EMSGSIZE } if told == socket)
    );
    let over_v6 = "[::1]:9".parse().unwrap();
    plane.flush(|batch| batch.send_datagram(socket, over_v6, b"x")).unwrap();
    assert!(matches!(next(&mut plane), SocketEvent::DatagramNotSent { errno: libc::EAFNOSUPPORT, .. }));
    assert_eq!(plane.counters().datagrams_not_sent, 2);
    // The socket is as good as before.
    plane.flush(|batch| batch.send_datagram(socket, to, b"short")).unwrap();
    assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 5);
}

#[test]
fn more_datagrams_than_the_queue_holds_go_out_in_one_flush() {
    // 16 entries and room for 256 headers.
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    rustix::net::sockopt::set_socket_recv_buffer_size(&peer, 1 << 20).unwrap();
    let to = peer.local_addr().unwrap();
    // Fewer than the peer's buffer holds, whatever the system's limit on it.
    let numbers: Vec<[u8; 4]> = (0..260_u32).map(u32::to_be_bytes).collect();
    let short = plane.flush(|batch| numbers.iter().for_each(|number| batch.send_datagram(socket, to, number)));
    assert!(short.unwrap().is_empty());
    let mut buffer = [0; 16];
    for number in &numbers {
        assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], number);
    }
    assert!(plane.counters().queue_full > 10, "{:?}", plane.counters());
    quiet(&mut plane);
}

#[test]
fn two_planes_share_an_address_and_a_peer_stays_with_one() {
    let mut planes = [Plane::new(small()).unwrap(), Plane::new(small()).unwrap()];
    let (first, address) = bind(&mut planes[0], "127.0.0.1:0");
    let (second, same) = planes[1].bind_datagram(&DatagramConfig::new(address)).unwrap();
    assert_eq!(address, same);
    planes[0].receive_datagrams(first);
    planes[1].receive_datagrams(second);
    let peers: Vec<UdpSocket> = (0..30).map(|_| peer_of(address)).collect();
    let mut heard_by: HashMap<SocketAddr, Vec<usize>> = HashMap::new();
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..3 {
        for peer in &peers {
            assert_eq!(peer.send(b"x").unwrap(), 1);
        }
    }
    while heard_by.values().map(Vec::len).sum::<usize>() < 90 {
        assert!(Instant::now() < deadline, "{heard_by:?}");
        for (index, plane) in planes.iter_mut().enumerate() {
            sleep(plane, Duration::from_millis(5));
            while let Some(event) = plane.next_event() {
                match event {
                    SocketEvent::Datagram { from, buffer, .. } => {
                        heard_by.entry(from).or_default().push(index);
                        plane.give_back(buffer);
                    }
                    SocketEvent::DatagramsEnded { socket, cause: EndCause::OutOfBuffers } => {
                        plane.receive_datagrams(socket);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(heard_by.values().all(|planes| planes.iter().all(|&plane| plane == planes[0])), "{heard_by:?}");
}

#[test]
fn a_datagram_socket_works_in_a_later_ring_and_ends_a_wait() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 3, ring_sockets_max: 1, ..small() }).unwrap();
    let bound: Vec<_> = (0..3).map(|_| bind(&mut plane, "127.0.0.1:0")).collect();
    assert_eq!((plane.rings.all.len(), plane.sockets()), (3, 3));
    assert_eq!(
        plane.bind_datagram(&DatagramConfig::new("127.0.0.1:0".parse().unwrap())).unwrap_err().errno(),
        libc::ENFILE
    );
    for &(socket, address) in &bound {
        plane.receive_datagrams(socket);
        plane.submit().unwrap();
        let peer = peer_of(address);
        let to = peer.local_addr().unwrap();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            peer.send(b"wake up").unwrap();
            peer
        });
        let begin = Instant::now();
        let told = loop {
            assert!(begin.elapsed() < PATIENCE, "nothing came");
            match plane.next_event() {
                Some(SocketEvent::Datagram { socket, buffer, .. }) => {
                    plane.give_back(buffer);
                    break socket;
                }
                Some(other) => panic!("{other:?}"),
                None => plane.wait(Some(PATIENCE), || true).unwrap(),
            }
        };
        assert_eq!(told, socket);
        let peer = sender.join().unwrap();
        plane.flush(|batch| batch.send_datagram(socket, to, b"awake")).unwrap();
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 5);
    }
}

#[test]
fn datagrams_and_connections_share_a_ring_and_its_buffers() {
    let (mut plane, socket, peer) = pair("127.0.0.1:0");
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut stream = client(address);
    let (connection, accepted) = (ConnectionId::new(0, 1), accept(&mut plane));
    plane.receive_multi(accepted, connection);
    for round in 0..50_u8 {
        stream.write_all(&[round]).unwrap();
        assert_eq!(received(&mut plane), (connection, vec![round], true));
        peer.send(&[round]).unwrap();
        assert_eq!(datagram(&mut plane).1, [round]);
        let to = peer.local_addr().unwrap();
        let short = plane.flush(|batch| {
            batch.send_datagram(socket, to, b"udp");
            batch.send(accepted, connection, b"tcp");
        });
        assert!(short.unwrap().is_empty());
        let (mut udp, mut tcp) = ([0; 3], [0; 3]);
        assert_eq!(peer.recv(&mut udp).unwrap(), 3);
        stream.read_exact(&mut tcp).unwrap();
        assert_eq!((&udp, &tcp), (b"udp", b"tcp"));
    }
}

#[test]
fn a_plane_that_is_dropped_closes_its_datagram_sockets() {
    let (plane, _, peer) = pair("127.0.0.1:0");
    drop(plane);
    // The kernel takes a ring down some time after it was closed.
    let deadline = Instant::now() + PATIENCE;
    while peer.send(b"anybody?").is_ok() {
        assert!(Instant::now() < deadline, "the socket is still open");
        std::thread::yield_now();
    }
}
