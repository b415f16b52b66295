//! Waiting on a thread of one's own, with one ring and with several.

use super::super::coalescing::{Coalescing, TurnCounts};
use super::*;
use crate::ids::{ConnectionId, SocketId};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn planes() -> [Plane; 2] {
    let one = Plane::new(small()).unwrap();
    let mut several = Plane::new(PlaneConfig { ring_sockets_max: 2, ..small() }).unwrap();
    several.rings.add_ring().unwrap();
    [one, several]
}

#[test]
fn waiting_ends_when_something_arrives() {
    for mut plane in planes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = ConnectionId::new(0, 0);
        let socket = plane.connect(listener.local_addr().unwrap(), None, connection).unwrap();
        plane.submit().unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        plane.receive_multi(socket, connection);
        let echo = std::thread::spawn(move || {
            let mut byte = [0];
            while peer.read_exact(&mut byte).is_ok() {
                peer.write_all(&byte).unwrap();
            }
        });
        let mut answers = 0_u8;
        let begin = Instant::now();
        while answers < 100 {
            assert!(begin.elapsed() < PATIENCE, "{answers} answers");
            let mut send = false;
            while let Some(event) = plane.next_event() {
                match event {
                    SocketEvent::Connected { error: None, .. } => send = true,
                    SocketEvent::Received { buffer, .. } => {
                        assert_eq!(plane.bytes(&buffer), [answers]);
                        plane.give_back(buffer);
                        answers += 1;
                        send = true;
                    }
                    other => panic!("{other:?}"),
                }
            }
            if send {
                let byte = [answers];
                assert!(plane.flush(|batch| batch.send(socket, connection, &byte)).unwrap().is_empty());
            }
            plane.wait(None, || true).unwrap();
        }
        plane.close(socket, UnderWay::Receive(connection));
        plane.submit().unwrap();
        echo.join().unwrap();
    }
}

#[test]
fn waiting_ends_when_time_is_up() {
    for mut plane in planes() {
        let begin = Instant::now();
        // An early return is allowed, so only that there is an end and that it is no busy loop is looked at.
        let mut waits = 0;
        while begin.elapsed() < Duration::from_millis(20) {
            plane.wait(Some(Duration::from_millis(5)), || true).unwrap();
            waits += 1;
        }
        assert!(plane.next_event().is_none());
        assert!(waits < 50, "{waits} returns in 20 ms");
    }
}

#[test]
fn another_thread_ends_the_waiting_and_is_never_missed() {
    for mut plane in planes() {
        let handle = plane.handle();
        let mail = Arc::new(AtomicBool::new(false));
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let sender = {
            let mail = Arc::clone(&mail);
            std::thread::spawn(move || {
                while gone.recv().is_ok() {
                    mail.store(true, Ordering::SeqCst);
                    handle.wake();
                }
            })
        };
        for _ in 0..200 {
            go.send(()).unwrap();
            let begin = Instant::now();
            while !mail.swap(false, Ordering::SeqCst) {
                plane.wait(Some(PATIENCE), || !mail.load(Ordering::SeqCst)).unwrap();
                assert!(plane.next_event().is_none());
                assert!(begin.elapsed() < PATIENCE / 2, "a wake-up was missed");
            }
        }
        drop(go);
        sender.join().unwrap();
    }
}

/// A peer that sends back what it gets.
fn echo(listener: &TcpListener) -> std::thread::JoinHandle<()> {
    let (mut peer, _) = listener.accept().unwrap();
    std::thread::spawn(move || {
        let mut byte = [0];
        while peer.read_exact(&mut byte).is_ok() && peer.write_all(&byte).is_ok() {}
    })
}

fn connected(plane: &mut Plane, listener: &TcpListener, connection: ConnectionId) -> SocketId {
    let socket = plane.connect(listener.local_addr().unwrap(), None, connection).unwrap();
    plane.submit().unwrap();
    assert!(matches!(next(plane), SocketEvent::Connected { error: None, .. }));
    plane.receive_multi(socket, connection);
    plane.submit().unwrap();
    socket
}

#[test]
fn one_entry_into_the_kernel_sends_and_waits_for_the_answer() {
    let mut plane = Plane::new(small()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = ConnectionId::new(0, 0);
    let socket = connected(&mut plane, &listener, connection);
    let echo = echo(&listener);
    let before = plane.counters().enters;
    let (mut answers, mut send) = (0, true);
    let begin = Instant::now();
    while answers < 100 {
        assert!(begin.elapsed() < PATIENCE, "{answers} answers");
        let queue = |batch: &mut SendBatch<'_, '_>| {
            if send {
                batch.send(socket, connection, b"x");
            }
        };
        assert!(plane.flush_and_wait(|| true, queue).unwrap().is_empty());
        send = false;
        while let Some(event) = plane.next_event() {
            let SocketEvent::Received { buffer, .. } = event else { panic!("{event:?}") };
            plane.give_back(buffer);
            answers += 1;
            send = true;
        }
    }
    let entries = plane.counters().enters - before;
    // Two each would be the flush and the wait apart. Some early returns are the kernel's own.
    assert!(entries < 150, "{entries} entries for 100 answers");
    plane.close(socket, UnderWay::Receive(connection));
    plane.submit().unwrap();
    echo.join().unwrap();
}

#[test]
fn in_three_rings_each_answer_takes_few_entries_and_none_is_missed() {
    let mut plane = Plane::new(PlaneConfig { ring_sockets_max: 1, ..small() }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connections: [ConnectionId; 3] = std::array::from_fn(|slot| ConnectionId::new(slot as u32, 0));
    let sockets = connections.map(|connection| connected(&mut plane, &listener, connection));
    assert_eq!(sockets.map(SocketId::ring), [0, 1, 2]);
    let echoes: Vec<_> = (0..3).map(|_| echo(&listener)).collect();
    let before = plane.counters().enters;
    let (mut answers, mut to) = (0, Some(0));
    let begin = Instant::now();
    while answers < 300 {
        assert!(begin.elapsed() < PATIENCE, "{answers} answers");
        let queue = |batch: &mut SendBatch<'_, '_>| {
            if let Some(to) = to {
                batch.send(sockets[to], connections[to], b"x");
            }
        };
        assert!(plane.flush_and_wait(|| true, queue).unwrap().is_empty());
        to = None;
        while let Some(event) = plane.next_event() {
            let SocketEvent::Received { buffer, connection, .. } = event else { panic!("{event:?}") };
            plane.give_back(buffer);
            answers += 1;
            to = Some((connection.slot as usize + 1) % 3);
        }
    }
    // One that sends, one that waits, one that collects, where that is another ring; and the first ring's read of the eventfd.
    let entries = plane.counters().enters - before;
    assert!(entries < 300 * 5, "{entries} entries for 300 answers");
    for (socket, connection) in sockets.into_iter().zip(connections) {
        plane.close(socket, UnderWay::Receive(connection));
    }
    plane.submit().unwrap();
    for echo in echoes {
        echo.join().unwrap();
    }
}

#[test]
fn whoever_waited_in_the_ring_may_go_on_to_sleep_on_the_eventfd() {
    for mut plane in planes() {
        plane.wait(Some(Duration::ZERO), || true).unwrap();
        // The first ring reads the eventfd by now, and what it has read is signalled once more.
        for _ in 0..100 {
            let handle = plane.handle();
            while !plane.prepare_sleep() {
                plane.submit().unwrap();
                assert!(plane.next_event().is_none());
            }
            let waker = std::thread::spawn(move || handle.wake());
            assert!(wait_readable(plane.eventfd(), PATIENCE), "a wake-up was lost");
            plane.awake();
            waker.join().unwrap();
            plane.wait(Some(Duration::ZERO), || true).unwrap();
        }
    }
}

#[test]
fn a_send_that_went_out_short_is_told_at_once() {
    let bytes = vec![7; 32 << 20];
    for mut plane in planes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = ConnectionId::new(0, 0);
        let socket = connected(&mut plane, &listener, connection);
        let (_peer, _) = listener.accept().unwrap(); // and reads nothing
        let short = plane.flush_and_wait(|| true, |batch| batch.send(socket, connection, &bytes)).unwrap();
        assert!(matches!(short, [ShortSend { sent, error: None, .. }] if *sent < bytes.len()), "{short:?}");
    }
}

#[test]
fn what_became_true_before_the_wait_is_seen() {
    for mut plane in planes() {
        let begin = Instant::now();
        assert!(plane.flush_and_wait(|| false, |_| ()).unwrap().is_empty());
        assert!(begin.elapsed() < PATIENCE, "it waited for ever, nearly");
    }
}

/// Two planes on threads of their own hand a number to and fro; each sleeps until the other wakes it.
#[test]
fn planes_wake_each_other_and_no_wake_is_missed() {
    for (left_rings, right_rings) in [(1, 1), (1, 2), (2, 1)] {
        let ball = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let play = |rings: usize, parity: u32, mine: std::sync::mpsc::Sender<PlaneHandle>, ball: Arc<_>| {
            let (give, other) = std::sync::mpsc::channel::<PlaneHandle>();
            let thread = std::thread::spawn(move || {
                let ball: Arc<std::sync::atomic::AtomicU32> = ball;
                let mut plane = Plane::new(PlaneConfig { ring_sockets_max: 2, ..small() }).unwrap();
                for _ in 1..rings {
                    plane.rings.add_ring().unwrap();
                }
                mine.send(plane.handle()).unwrap();
                let other = other.recv().unwrap();
                let begin = Instant::now();
                while ball.load(Ordering::SeqCst) < 1_000 {
                    assert!(begin.elapsed() < PATIENCE, "a wake-up was missed");
                    let is_mine = || ball.load(Ordering::SeqCst) % 2 == parity || ball.load(Ordering::SeqCst) >= 1_000;
                    if is_mine() {
                        ball.fetch_add(1, Ordering::SeqCst);
                        plane.wake(&other);
                    }
                    assert!(plane.next_event().is_none());
                    plane.wait(Some(PATIENCE), || !is_mine()).unwrap();
                }
                // The last one leaves only after it has woken the other.
                plane.wake(&other);
                plane.submit().unwrap();
            });
            (thread, give)
        };
        let (mine, theirs) = std::sync::mpsc::channel();
        let (left, give_left) = play(left_rings, 0, mine, Arc::clone(&ball));
        let left_handle = theirs.recv().unwrap();
        let (mine, theirs) = std::sync::mpsc::channel();
        let (right, give_right) = play(right_rings, 1, mine, Arc::clone(&ball));
        give_left.send(theirs.recv().unwrap()).unwrap();
        give_right.send(left_handle).unwrap();
        left.join().unwrap();
        right.join().unwrap();
        assert!(ball.load(Ordering::SeqCst) >= 1_000);
    }
}

#[test]
fn a_plane_that_cannot_be_nudged_is_signalled() {
    let mut plane = Plane::new(small()).unwrap();
    let mut other = Plane::new(small()).unwrap();
    let handle = other.handle();
    assert!(other.prepare_sleep());
    handle.set_ring(0, -1); // as if the kernel refused it
    plane.wake(&handle);
    plane.submit().unwrap();
    assert!(plane.next_event().is_none());
    assert!(wait_readable(other.eventfd(), PATIENCE));
    drain(other.eventfd());
    other.awake();
}

/// A plane with `COUNT` connections that receive, and the clients at their other ends.
fn with_clients<const COUNT: usize>(plane: &mut Plane) -> [TcpStream; COUNT] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    std::array::from_fn(|index| {
        let connection = ConnectionId::new(index as u32, 0);
        connected(plane, &listener, connection);
        listener.accept().unwrap().0
    })
}

fn gather(plane: &mut Plane, events: u32, window: Duration) -> (usize, Duration) {
    if !plane.rings.all[0].can_coalesce() {
        // Such a kernel ignores the window and waits for all `events`; the broker does not ask it to.
        return (events as usize, window);
    }
    let begin = Instant::now();
    while plane.rings.completed.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "nothing came");
        plane.rings.all[0].enter_and_coalesce(Coalescing { events, window }).unwrap();
        plane.rings.reap(0);
    }
    (plane.rings.completed.len(), begin.elapsed())
}

#[test]
fn gathering_ends_with_the_last_event_that_it_waits_for() {
    let mut plane = Plane::new(small()).unwrap();
    let mut clients = with_clients::<4>(&mut plane);
    let sender = std::thread::spawn(move || {
        for client in &mut clients {
            std::thread::sleep(Duration::from_millis(2));
            client.write_all(b"x").unwrap();
        }
        clients
    });
    // The window is longer than anybody's patience.
    let (events, took) = gather(&mut plane, 4, PATIENCE * 2);
    assert_eq!(events, 4);
    assert!(took < PATIENCE || !plane.rings.all[0].can_coalesce(), "{took:?}");
    sender.join().unwrap();
}

#[test]
fn gathering_ends_with_the_window_where_fewer_came_and_tells_of_those() {
    let mut plane = Plane::new(small()).unwrap();
    let mut clients = with_clients::<4>(&mut plane);
    for client in &mut clients[..2] {
        client.write_all(b"x").unwrap();
    }
    let (events, took) = gather(&mut plane, 4, Duration::from_millis(50));
    assert!(took < PATIENCE, "{took:?}");
    assert!(events == 2 || !plane.rings.all[0].can_coalesce(), "{events}");
}

#[test]
fn after_the_window_gathering_ends_with_the_first_event() {
    let mut plane = Plane::new(small()).unwrap();
    let mut clients = with_clients::<1>(&mut plane);
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        clients[0].write_all(b"x").unwrap();
        clients
    });
    let (events, took) = gather(&mut plane, 4, Duration::from_micros(100));
    assert!(events == 1 || !plane.rings.all[0].can_coalesce(), "{events}");
    assert!(took < PATIENCE, "{took:?}");
    sender.join().unwrap();
}

#[test]
fn a_plane_counts_its_receives_and_sends_from_wait_to_wait() {
    let mut plane = Plane::new(small()).unwrap();
    let mut clients = Vec::from(with_clients::<1>(&mut plane));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (connection, other) = (ConnectionId::new(1, 0), ConnectionId::new(2, 0));
    let socket = connected(&mut plane, &listener, connection);
    let other_socket = connected(&mut plane, &listener, other);
    clients.extend([listener.accept().unwrap().0, listener.accept().unwrap().0]);
    while plane.next_event().is_some() {}
    plane.wait(Some(Duration::ZERO), || true).unwrap();
    assert_eq!(plane.turn_counts, TurnCounts::default());
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    for _ in 0..3 {
        let SocketEvent::Received { buffer, .. } = next(&mut plane) else { panic!("something else") };
        plane.give_back(buffer);
    }
    let pieces = [std::io::IoSlice::new(b"x"), std::io::IoSlice::new(b"y")];
    let short = plane.flush(|batch| {
        batch.send(other_socket, other, b"x");
        batch.send_vectored(socket, connection, &pieces);
    });
    assert!(short.unwrap().is_empty());
    assert_eq!(plane.turn_counts, TurnCounts { receives: 3, sends: 2 });
    plane.wait(Some(Duration::ZERO), || true).unwrap();
    assert_eq!(plane.turn_counts, TurnCounts::default());
}
