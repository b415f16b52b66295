//! Sleeping and waking: no wake-up is lost, and none is paid for while awake.

use super::*;
use crate::ids::ConnectionId;

const MS: u64 = 1_000_000;

fn expect_timeout(plane: &mut Plane) -> u64 {
    match next(plane) {
        SocketEvent::Timeout => monotonic_ns(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_timeout_fires_and_can_be_set_again() {
    let mut plane = Plane::new(small()).unwrap();
    for _ in 0..3 {
        let at = monotonic_ns() + 5 * MS;
        plane.set_timeout(at);
        assert!(expect_timeout(&mut plane) >= at);
        assert_eq!(plane.timeout.armed, None);
    }
    plane.set_timeout(1);
    expect_timeout(&mut plane);
    quiet(&mut plane);
}

#[test]
fn an_earlier_timeout_replaces_a_later_one_and_a_later_one_costs_nothing() {
    let mut plane = Plane::new(small()).unwrap();
    let soon = monotonic_ns() + 10 * MS;
    plane.set_timeout(soon + 3_600_000 * MS);
    plane.submit().unwrap();
    plane.set_timeout(soon);
    plane.submit().unwrap();
    let enters = plane.counters().enters;
    for later in 0..1_000 {
        plane.set_timeout(soon + later * MS);
        plane.submit().unwrap();
    }
    assert!(plane.counters().enters - enters <= 1, "later wishes do not reach the kernel");
    assert!(expect_timeout(&mut plane) >= soon);
    quiet(&mut plane);
}

#[test]
fn of_several_wishes_in_one_turn_the_earliest_counts() {
    let mut plane = Plane::new(small()).unwrap();
    let soon = monotonic_ns() + 5 * MS;
    plane.set_timeout(soon + 3_600_000 * MS);
    plane.set_timeout(soon);
    plane.set_timeout(soon + 60_000 * MS);
    assert!(expect_timeout(&mut plane) >= soon);
}

#[test]
fn a_plain_thread_wakes_a_sleeping_plane() {
    let mut plane = Plane::new(small()).unwrap();
    let handle = plane.handle();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let waker = std::thread::spawn(move || {
        for n in 0..200 {
            gone.recv().unwrap();
            sender.send(n).unwrap();
            handle.wake();
        }
    });
    for n in 0..200 {
        go.send(()).unwrap();
        let mut got = receiver.try_recv().ok();
        while got.is_none() {
            if plane.prepare_sleep() {
                got = receiver.try_recv().ok();
                if got.is_none() {
                    assert!(wait_readable(plane.eventfd(), PATIENCE), "a wake-up was lost");
                    drain(plane.eventfd());
                }
                plane.awake();
            }
            got = got.or_else(|| receiver.try_recv().ok());
        }
        assert_eq!(got, Some(n));
    }
    waker.join().unwrap();
}

#[test]
fn the_pump_of_another_plane_wakes_a_sleeping_plane_once_per_sleep() {
    let mut plane = Plane::new(small()).unwrap();
    let handle = plane.handle();
    assert!(plane.prepare_sleep());
    std::thread::spawn(move || {
        let _other = Plane::new(small()).unwrap();
        (0..1_000).for_each(|_| handle.wake());
    })
    .join()
    .unwrap();
    assert!(wait_readable(plane.eventfd(), PATIENCE));
    assert_eq!(drain(plane.eventfd()), 1, "one system call for a thousand wakes");
    plane.awake();
}

#[test]
fn nothing_is_signalled_while_the_pump_is_awake() {
    let mut plane = Plane::new(small()).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peer = client(address);
    let socket = accept(&mut plane);
    plane.receive_multi(socket, ConnectionId::new(0, 0));
    plane.submit().unwrap();
    plane.handle().wake();
    for _ in 0..100 {
        peer.write_all(b"x").unwrap();
        let buffer = loop {
            match plane.next_event() {
                Some(SocketEvent::Received { buffer, .. }) => break buffer,
                Some(other) => panic!("{other:?}"),
                None => plane.submit().unwrap(),
            }
        };
        plane.give_back(buffer);
    }
    assert!(!wait_readable(plane.eventfd(), Duration::ZERO));
}

#[test]
fn nobody_sleeps_while_the_kernel_holds_more_than_it_hands_over_at_once() {
    // The kernel finishes 20 operations an entry and signals once for all of them.
    let mut plane = Plane::new(PlaneConfig { buffers: 256, ..small() }).unwrap();
    let (_, address) = plane.listen(&loopback()).unwrap();
    let mut peers: Vec<TcpStream> = (0..200).map(|_| client(address)).collect();
    for slot in 0..200 {
        let socket = accept(&mut plane);
        plane.receive_multi(socket, ConnectionId::new(slot, 0));
    }
    plane.submit().unwrap();
    for round in 0..5 {
        for peer in &mut peers {
            peer.write_all(&[round]).unwrap();
        }
        for _ in 0..200 {
            assert_eq!(received(&mut plane).1, [round]);
        }
    }
}

#[test]
fn submit_makes_no_system_call_when_there_is_nothing_to_do() {
    let mut plane = Plane::new(small()).unwrap();
    plane.submit().unwrap();
    let enters = plane.counters().enters;
    (0..100).for_each(|_| plane.submit().unwrap());
    assert_eq!(plane.counters().enters, enters);
}
