//! Bytes go out: many at once, in pieces, to slow readers and to nobody.

use super::*;
use crate::ids::{ConnectionId, SocketId};
use std::io::IoSlice;

/// A connection whose buffers on both sides are small, so that a few hundred KiB do not fit.
fn slow_pair(plane: &mut Plane) -> (TcpStream, SocketId) {
    pair(plane, &ListenConfig { send_buffer_bytes: Some(8 * 1024), ..loopback() })
}

fn pair(plane: &mut Plane, config: &ListenConfig) -> (TcpStream, SocketId) {
    let (_, address) = plane.listen(config).unwrap();
    let peer = client(address);
    (peer, accept(plane))
}

fn read_exactly(peer: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    peer.read_exact(&mut read).unwrap();
    read
}

#[test]
fn what_a_slow_reader_does_not_take_is_sent_as_it_reads() {
    let mut plane = Plane::new(small()).unwrap();
    let (mut peer, socket) = slow_pair(&mut plane);
    let connection = ConnectionId::new(9, 9);
    let data: Vec<u8> = (0..2_000_000_u32).map(|n| (n >> 8) as u8).collect();
    let short = plane.flush(|batch| batch.send(socket, connection, &data)).unwrap();
    let [ShortSend { connection: told, sent, error: None }] = *short else { panic!("{short:?}") };
    assert!(told == connection && sent > 0 && sent < data.len(), "{sent}");

    // Its buffer is full now: little or nothing goes out, and that is not an error.
    let short = plane.flush(|batch| batch.send(socket, connection, &data[sent..])).unwrap();
    let [ShortSend { sent: more, error: None, .. }] = *short else { panic!("{short:?}") };
    let sent = sent + more;
    assert!(sent < data.len() && plane.counters().short_sends == 2, "{sent}");

    let data = Bytes::from(data);
    plane.send_rest(socket, connection, data.slice(sent..));
    quiet(&mut plane);
    let reading = std::thread::spawn(move || read_exactly(&mut peer, 2_000_000));
    match next(&mut plane) {
        SocketEvent::Sent { connection: told, bytes, sent: rest, error } => {
            assert_eq!((told, rest, error), (connection, data.len() - sent, None));
            assert_eq!(bytes, data.slice(sent..));
        }
        other => panic!("{other:?}"),
    }
    assert!(reading.join().unwrap() == data);
}

#[test]
fn a_whole_send_says_nothing_and_its_bytes_may_go_at_once() {
    let mut plane = Plane::new(small()).unwrap();
    let (mut peer, socket) = pair(&mut plane, &loopback());
    for n in 0..1_000_u32 {
        let bytes = n.to_be_bytes().to_vec();
        let short = plane.flush(|batch| batch.send(socket, ConnectionId::new(0, 0), &bytes)).unwrap();
        assert_eq!(short, []);
    }
    let expected: Vec<u8> = (0..1_000_u32).flat_map(u32::to_be_bytes).collect();
    assert_eq!(read_exactly(&mut peer, 4_000), expected);
    quiet(&mut plane);
}

#[test]
fn pieces_go_out_in_order_without_being_joined_and_are_counted_together() {
    let mut plane = Plane::new(small()).unwrap();
    let (mut peer, socket) = slow_pair(&mut plane);
    let connection = ConnectionId::new(1, 2);
    let payload = vec![7; 1_500_000];
    let pieces = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(&payload), IoSlice::new(b"tail")];
    let short = plane.flush(|batch| batch.send_vectored(socket, connection, &pieces)).unwrap();
    let [ShortSend { sent, error: None, .. }] = *short else { panic!("{short:?}") };
    assert!(sent > 4 && sent < payload.len(), "{sent}");
    let got = read_exactly(&mut peer, sent);
    assert!(got.starts_with(b"head") && got[4..].iter().all(|&byte| byte == 7));
}

#[test]
fn more_sends_than_the_queue_holds_all_go_out_in_one_flush() {
    // 16 entries and room for 256 message headers; 700 of each kind of send, over two connections.
    let mut plane = Plane::new(small()).unwrap();
    let (mut peer_a, a) = pair(&mut plane, &loopback());
    let (mut peer_b, b) = pair(&mut plane, &loopback());
    let numbers: Vec<[u8; 4]> = (0..700_u32).map(u32::to_be_bytes).collect();
    let pieces: Vec<[IoSlice; 2]> =
        numbers.iter().map(|number| [IoSlice::new(&number[..1]), IoSlice::new(&number[1..])]).collect();
    let short = plane.flush(|batch| {
        for (number, pieces) in numbers.iter().zip(&pieces) {
            batch.send(a, ConnectionId::new(0, 0), number);
            batch.send_vectored(b, ConnectionId::new(1, 0), pieces);
        }
    });
    assert_eq!(short.unwrap(), []);
    assert!(plane.counters().queue_full > 50, "{:?}", plane.counters());
    let expected = numbers.concat();
    assert_eq!(read_exactly(&mut peer_a, expected.len()), expected);
    assert_eq!(read_exactly(&mut peer_b, expected.len()), expected);
}

#[test]
fn every_short_send_of_a_flush_is_told_even_when_completions_overflow() {
    let mut plane = Plane::new(PlaneConfig { entries: 8, completions: 8, ..small() }).unwrap();
    let config = ListenConfig { send_buffer_bytes: Some(4096), ..loopback() };
    let (_, address) = plane.listen(&config).unwrap();
    let peers: Vec<TcpStream> = (0..100).map(|_| client(address)).collect();
    let sockets: Vec<SocketId> = peers.iter().map(|_| accept(&mut plane)).collect();
    let data = vec![1; 2_000_000];
    let short = plane.flush(|batch| {
        for (slot, &socket) in sockets.iter().enumerate() {
            batch.send(socket, ConnectionId::new(slot as u32, 5), &data);
        }
    });
    let slots: Vec<u32> = short.unwrap().iter().map(|short| short.connection.slot).collect();
    assert_eq!(slots, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_send_to_a_connection_that_broke_says_so() {
    let mut plane = Plane::new(small()).unwrap();
    let (peer, socket) = slow_pair(&mut plane);
    send_all(&mut plane, socket, ConnectionId::new(0, 0), b"unread, so that the close is a reset");
    drop(peer);
    let connection = ConnectionId::new(0, 1);
    let error = (0..1_000).find_map(|_| {
        let short = plane.flush(|batch| batch.send(socket, connection, b"anybody?")).unwrap();
        short.first().map(|short| short.error)
    });
    assert!(matches!(error, Some(Some(libc::ECONNRESET | libc::EPIPE))), "{error:?}");
    plane.send_rest(socket, connection, Bytes::from_static(b"still?"));
    match next(&mut plane) {
        SocketEvent::Sent { sent, error, .. } => assert_eq!((sent, error), (0, Some(libc::EPIPE))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn close_ends_a_send_that_waits_and_brings_its_bytes_back() {
    let mut plane = Plane::new(small()).unwrap();
    let (_peer, socket) = slow_pair(&mut plane);
    let data = Bytes::from(vec![3; 2_000_000]);
    plane.send_rest(socket, ConnectionId::new(0, 0), data.clone());
    quiet(&mut plane);
    plane.close(socket, UnderWay::Anything);
    match next(&mut plane) {
        SocketEvent::Sent { bytes, sent, error, .. } => {
            assert!(bytes == data && sent < data.len() && error.is_some(), "{sent} {error:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn borrowed_bytes_are_out_of_the_kernels_sight_when_queueing_panics() {
    let mut plane = Plane::new(small()).unwrap();
    let (mut peer, socket) = slow_pair(&mut plane);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let bytes = b"sent before the panic".to_vec();
        let _ = plane.flush(|batch| {
            batch.send(socket, ConnectionId::new(0, 0), &bytes);
            panic!("in the middle of a turn");
        });
    }));
    assert!(result.is_err());
    assert_eq!(read_exactly(&mut peer, 21), b"sent before the panic");
}

#[test]
fn a_plane_that_is_dropped_lets_go_of_the_bytes_it_was_sending() {
    let mut plane = Plane::new(small()).unwrap();
    let (_peer, socket) = slow_pair(&mut plane);
    plane.receive_multi(socket, ConnectionId::new(0, 0));
    let data = Bytes::from(vec![3; 2_000_000]);
    plane.send_rest(socket, ConnectionId::new(0, 0), data.clone());
    plane.set_timeout(monotonic_ns() + 3_600_000_000_000);
    quiet(&mut plane);
    assert!(!data.is_unique());
    drop(plane);
    assert!(data.is_unique());
}
