//! Bytes come in: whole, split, more than the buffers hold, and not while they are not wanted.

use super::*;
use crate::ids::ConnectionId;

fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

#[test]
fn many_clients_get_back_exactly_what_they_send_split_and_large() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let clients: Vec<_> = (0..20_u32)
        .map(|n| {
            std::thread::spawn(move || {
                let data = pattern(n, 300_000);
                let mut writer = client(address);
                let mut reader = writer.try_clone().unwrap();
                let sent = data.clone();
                let writing = std::thread::spawn(move || {
                    // From single bytes, each a segment of its own, to chunks far larger than all buffers together.
                    let (bytewise, rest) = sent.split_at(50);
                    for byte in bytewise {
                        writer.write_all(&[*byte]).unwrap();
                    }
                    rest.chunks(1_000 + 40_000 * n as usize).for_each(|chunk| writer.write_all(chunk).unwrap());
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut echoed = Vec::new();
                reader.read_to_end(&mut echoed).unwrap();
                writing.join().unwrap();
                assert!(echoed == data, "{} bytes came back", echoed.len());
            })
        })
        .collect();
    Echo::default().run(&mut plane, 20);
    for client in clients {
        client.join().unwrap();
    }
    assert!(plane.counters().out_of_buffers > 0, "the buffers are few enough to run out: {:?}", plane.counters());
    assert_eq!(plane.sockets(), 0);
}

#[test]
fn held_buffers_stop_receiving_and_nothing_is_lost_or_reordered() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    let connection = ConnectionId::new(0, 1);
    plane.receive_multi(socket, connection);
    let data = pattern(1, 16 * 512 + 5_000);
    peer.write_all(&data).unwrap();

    let mut held = Vec::new();
    loop {
        match next(&mut plane) {
            SocketEvent::Received { buffer, .. } => held.push(buffer),
            SocketEvent::ReceiveEnded { cause, .. } => break assert_eq!(cause, EndCause::OutOfBuffers),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((held.len(), plane.buffers_free(socket)), (16, 0));
    assert_eq!(plane.counters().out_of_buffers, 1);
    quiet(&mut plane);

    let mut got = Vec::new();
    for buffer in held {
        got.extend_from_slice(plane.bytes(&buffer));
        plane.give_back(buffer);
    }
    assert_eq!(plane.buffers_free(socket), 16);
    plane.receive_multi(socket, connection);
    while got.len() < data.len() {
        got.extend(received(&mut plane).1);
    }
    assert_eq!(got, data);
}

#[test]
fn receive_once_takes_one_chunk_and_leaves_the_rest_in_the_socket() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    peer.write_all(&pattern(2, 700)).unwrap();
    plane.receive_once(socket, ConnectionId::new(3, 4));
    let (connection, first, more) = received(&mut plane);
    assert_eq!((connection, first.len(), more), (ConnectionId::new(3, 4), 512, false));
    quiet(&mut plane);
    plane.receive_once(socket, ConnectionId::new(3, 4));
    assert_eq!([first, received(&mut plane).1].concat(), pattern(2, 700));
    plane.receive_once(socket, ConnectionId::new(3, 4));
    drop(peer);
    assert_eq!(ended(&mut plane).1, EndCause::Eof);
}

#[test]
fn a_peer_that_is_not_listened_to_waits_and_is_heard_later() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    let connection = ConnectionId::new(0, 0);
    plane.receive_multi(socket, connection);
    peer.write_all(b"one").unwrap();
    assert_eq!(received(&mut plane), (connection, b"one".to_vec(), true));
    plane.stop_receiving(socket, connection);
    assert_eq!(ended(&mut plane), (connection, EndCause::Cancelled));
    peer.write_all(b"two").unwrap();
    quiet(&mut plane);
    plane.stop_receiving(socket, connection);
    quiet(&mut plane);
    plane.receive_multi(socket, connection);
    assert_eq!(received(&mut plane).1, b"two");
}

#[test]
fn a_reset_by_the_peer_is_told_with_its_error() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let peer = client(address);
    let socket = accept(&mut plane);
    plane.receive_multi(socket, ConnectionId::new(0, 0));
    send_all(&mut plane, socket, ConnectionId::new(0, 0), b"unread bytes make the peer's close a reset");
    drop(peer);
    assert_eq!(ended(&mut plane).1, EndCause::Error(libc::ECONNRESET));
}
