//! The table of sockets: slots come back, a full table refuses without stopping, more rings make more room.

use super::*;
use crate::ids::{ConnectionId, SocketId};

#[test]
fn closing_with_a_receive_pending_frees_the_slot() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 8, ..small() }).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    for generation in 0..80 {
        let _peer = client(address);
        let socket = accept(&mut plane);
        let connection = ConnectionId::new(0, generation);
        plane.receive_multi(socket, connection);
        plane.submit().unwrap();
        plane.close(socket, UnderWay::Receive(connection));
        assert_eq!(ended(&mut plane), (connection, EndCause::Cancelled));
        assert_eq!(plane.sockets(), 0);
    }
    assert_eq!(plane.counters().accept_failures, 0);
}

#[test]
fn connections_beyond_the_table_wait_in_the_kernel_until_there_is_a_slot() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 8, ..small() }).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let peers: Vec<TcpStream> = (0..8).map(|_| client(address)).collect();
    let sockets: Vec<SocketId> = peers.iter().map(|_| accept(&mut plane)).collect();

    let mut late = client(address);
    plane.accept_more();
    assert!(plane.is_out_of_room());
    let enters = plane.counters().enters;
    quiet(&mut plane);
    assert!(plane.counters().enters - enters < 20, "a full table does not make the plane spin");

    plane.close(sockets[3], UnderWay::Nothing);
    plane.submit().unwrap();
    plane.accept_more();
    assert!(!plane.is_out_of_room());
    let socket = accept(&mut plane);
    assert_eq!(socket, sockets[3]);
    send_all(&mut plane, socket, ConnectionId::new(0, 0), b"welcome");
    let mut hello = [0; 7];
    late.read_exact(&mut hello).unwrap();
    assert_eq!((&hello, plane.counters().accept_failures), (b"welcome", 0));
}

#[test]
fn idle_listeners_leave_the_slots_of_a_small_table_to_a_busy_one() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 32, ..small() }).unwrap();
    let addresses: Vec<SocketAddr> = (0..3).map(|_| plane.listen(&loopback()).unwrap().1).collect();
    plane.accept_more();
    assert!(!plane.is_out_of_room(), "nobody has come");
    let mut peers = Vec::new();
    // The last one, then all of them, then the first one as far as there are slots for the others, too.
    for number in [2; 8].into_iter().chain(0..3).chain([0; 18]) {
        peers.push(client(addresses[number]));
        accept(&mut plane);
        plane.accept_more();
        assert!(!plane.is_out_of_room(), "with {} connections", peers.len());
    }
    for number in [1, 2] {
        peers.push(client(addresses[number]));
        accept(&mut plane);
    }
    plane.accept_more();
    assert_eq!((plane.sockets(), plane.is_out_of_room(), plane.counters().accept_failures), (31, true, 0));
}

#[test]
fn a_plane_outgrows_one_ring() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 40, ring_sockets_max: 16, ..small() }).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peers = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..40 {
        peers.push(client(address));
        sockets.push(accept(&mut plane));
    }
    let mut rings: Vec<usize> = sockets.iter().map(|socket| socket.ring()).collect();
    rings.sort_unstable();
    rings.dedup();
    assert_eq!((rings, plane.sockets()), (vec![0, 1, 2], 40));

    for (slot, &socket) in sockets.iter().enumerate() {
        plane.receive_multi(socket, ConnectionId::new(slot as u32, 0));
    }
    plane.submit().unwrap();
    let mut heard = [false; 40];
    for (slot, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&[slot as u8]).unwrap();
    }
    for _ in 0..40 {
        let (connection, bytes, _) = received(&mut plane);
        assert_eq!(bytes, [connection.slot as u8]);
        heard[connection.slot as usize] = true;
    }
    assert!(heard.iter().all(|&heard| heard));
    let short = plane.flush(|batch| {
        for (slot, &socket) in sockets.iter().enumerate() {
            batch.send(socket, ConnectionId::new(slot as u32, 0), b"ok");
        }
    });
    assert_eq!(short.unwrap(), []);
    for peer in &mut peers {
        let mut answer = [0; 2];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ok");
    }
    for socket in sockets {
        plane.close(socket, UnderWay::Anything);
    }
    plane.submit().unwrap();
    assert_eq!(plane.sockets(), 0);
}

#[test]
fn an_idle_connection_costs_no_memory_and_no_buffer() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 2_000, ring_sockets_max: 2_000, ..small() }).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let memory = |plane: &Plane| (plane.rings.completed.capacity(), plane.pending.is_empty());
    let before = memory(&plane);
    let mut peers = Vec::new();
    for slot in 0..1_000 {
        peers.push(client(address));
        let socket = accept(&mut plane);
        plane.receive_multi(socket, ConnectionId::new(slot, 0));
    }
    plane.submit().unwrap();
    assert_eq!(memory(&plane), before);
    assert_eq!((plane.rings.all[0].buffers.free(), plane.sockets()), (16, 1_000));
}

#[test]
fn a_plane_has_so_many_rings_and_says_when_they_are_full() {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 1_000, ring_sockets_max: 1, buffers: 4, ..small() }).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peers = Vec::new();
    for number in 0..crate::limits::RINGS_MAX {
        assert!(!plane.is_out_of_room(), "with {number} of them");
        peers.push(client(address));
        let _socket = accept(&mut plane);
        plane.accept_more();
    }
    assert_eq!((plane.sockets() as usize, plane.is_out_of_room()), (crate::limits::RINGS_MAX, true));
}
