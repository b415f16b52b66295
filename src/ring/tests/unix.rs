//! Unix stream sockets: paths and their files, who connects, and that bytes flow as over TCP.

use super::*;
use crate::ids::{PeerAddress, UnixPeer};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A path of its own for each test, in a directory that goes with it.
struct TemporaryPath(PathBuf);

impl TemporaryPath {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-ring-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("mqtt.sock")
    }
}

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn listen(plane: &mut Plane, path: &Path) -> crate::ids::ListenerId {
    plane.listen_unix(SharedUnixListener::bind(path, UnixAccess::default(), limits::LISTEN_BACKLOG).unwrap())
}

fn unix_client(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_peer_of_a_path_is_told_with_its_process_and_user_and_bytes_flow_both_ways() {
    let directory = TemporaryPath::new("flow");
    let path = directory.socket();
    let mut plane = Plane::new(small()).unwrap();
    let listener = listen(&mut plane, &path);
    let mut peer = unix_client(&path);
    let (socket, connection) = match next(&mut plane) {
        SocketEvent::Accepted { listener: told, socket, peer: PeerAddress::Unix(unix) } => {
            let (user_id, group_id) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            assert_eq!((told, unix), (listener, UnixPeer { process_id: Some(std::process::id()), user_id, group_id }));
            (socket, ConnectionId::new(0, 0))
        }
        other => panic!("{other:?}"),
    };
    plane.receive_multi(socket, connection);
    // More than all buffers together hold, and more than the socket's buffer does.
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n >> 7) as u8).collect();
    let (sent, mut writer) = (data.clone(), peer.try_clone().unwrap());
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut got = Vec::new();
    while got.len() < data.len() {
        match next(&mut plane) {
            SocketEvent::Received { buffer, more, .. } => {
                got.extend_from_slice(plane.bytes(&buffer));
                plane.give_back(buffer);
                if !more {
                    plane.receive_multi(socket, connection);
                }
            }
            SocketEvent::ReceiveEnded { cause, .. } => {
                assert_eq!(cause, EndCause::OutOfBuffers);
                plane.receive_multi(socket, connection);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(got == data);
    writing.join().unwrap();
    let mut reader = peer.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut got = vec![0; 1_000_000];
        reader.read_exact(&mut got).unwrap();
        got
    });
    send_all(&mut plane, socket, connection, &data);
    assert!(reading.join().unwrap() == data);
    plane.close(socket, UnderWay::Receive(connection));
    plane.submit().unwrap();
    assert_eq!((peer.read(&mut [0]).unwrap(), plane.sockets()), (0, 0));
}

#[test]
fn a_unix_peer_that_closes_ends_its_connection_and_an_abort_ends_it_for_the_peer() {
    let directory = TemporaryPath::new("close");
    let mut plane = Plane::new(small()).unwrap();
    listen(&mut plane, &directory.socket());
    let peer = unix_client(&directory.socket());
    let (socket, connection) = (accept(&mut plane), ConnectionId::new(0, 0));
    plane.receive_once(socket, connection);
    drop(peer);
    assert_eq!(ended(&mut plane), (connection, EndCause::Eof));
    plane.close(socket, UnderWay::Nothing);
    let mut peer = unix_client(&directory.socket());
    let socket = accept(&mut plane);
    plane.receive_multi(socket, connection);
    plane.abort(socket, UnderWay::Receive(connection));
    assert_eq!(ended(&mut plane).1, EndCause::Cancelled);
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(plane.sockets(), 0);
}

#[test]
fn the_file_of_a_path_goes_with_the_last_that_listens_there() {
    let directory = TemporaryPath::new("file");
    let path = directory.socket();
    let shared = SharedUnixListener::bind(&path, UnixAccess::default(), 16).unwrap();
    assert_eq!(shared.path(), path);
    let mut planes = [Plane::new(small()).unwrap(), Plane::new(small()).unwrap()];
    let listeners = [planes[0].listen_unix(shared.clone()), planes[1].listen_unix(shared)];
    planes[0].close_listener(listeners[0]);
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    // The other still accepts.
    let _peer = unix_client(&path);
    accept(&mut planes[1]);
    planes[1].close_listener(listeners[1]);
    assert!(!path.exists());
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_path_that_all_have_stopped_at_is_opened_again_and_shared_again() {
    let directory = TemporaryPath::new("again");
    let path = directory.socket();
    let access = UnixAccess { mode: Some(0o640), ..UnixAccess::default() };
    let shared = SharedUnixListener::bind(&path, access, 16).unwrap();
    let place = shared.place();
    let mut planes = [Plane::new(small()).unwrap(), Plane::new(small()).unwrap()];
    let listeners = [planes[0].listen_unix(shared.clone()), planes[1].listen_unix(shared)];
    for (plane, listener) in planes.iter_mut().zip(listeners) {
        plane.stop_listener(listener);
    }
    assert!(!path.exists());
    let taken = UnixListener::bind(&path).unwrap();
    assert_eq!(place.open().unwrap_err().errno(), libc::EADDRINUSE);
    drop(taken);
    for (plane, listener) in planes.iter_mut().zip(listeners) {
        plane.reopen_unix(listener, place.open().unwrap());
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    for at in [0, 1] {
        planes[1 - at].stop_listener(listeners[1 - at]);
        let _peer = unix_client(&path);
        accept(&mut planes[at]);
        planes[1 - at].reopen_unix(listeners[1 - at], place.open().unwrap());
    }
}

#[test]
fn planes_that_share_a_path_lose_no_connection() {
    let directory = TemporaryPath::new("shared");
    // All of them connect before anybody is accepted.
    let shared = SharedUnixListener::bind(&directory.socket(), UnixAccess::default(), limits::LISTEN_BACKLOG).unwrap();
    let mut planes = [Plane::new(small()).unwrap(), Plane::new(small()).unwrap()];
    for plane in &mut planes {
        plane.listen_unix(shared.clone());
        plane.submit().unwrap();
    }
    let peers: Vec<UnixStream> = (0..40).map(|_| unix_client(&directory.socket())).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut accepted = 0;
    while accepted < peers.len() {
        assert!(Instant::now() < deadline, "{accepted} accepted");
        for plane in &mut planes {
            sleep(plane, Duration::from_millis(5));
            while let Some(event) = plane.next_event() {
                assert!(matches!(event, SocketEvent::Accepted { .. }), "{event:?}");
                accepted += 1;
            }
            plane.accept_more();
        }
    }
    assert_eq!(planes.iter().map(Plane::sockets).sum::<u32>(), 40);
}

#[test]
fn a_socket_file_that_nobody_listens_on_is_replaced_and_nothing_else_is() {
    let directory = TemporaryPath::new("stale");
    let path = directory.socket();
    drop(UnixListener::bind(&path).unwrap()); // std leaves the file, as a process does that was killed
    assert!(path.exists());
    let listener = SharedUnixListener::bind(&path, UnixAccess::default(), 16).unwrap();

    let error = SharedUnixListener::bind(&path, UnixAccess::default(), 16).unwrap_err();
    assert_eq!(error.errno(), libc::EADDRINUSE);
    assert!(error.to_string().contains("mqtt.sock"), "{error}");
    let _peer = unix_client(&path);
    drop(listener);

    std::fs::write(&path, "a file of somebody's").unwrap();
    assert_eq!(SharedUnixListener::bind(&path, UnixAccess::default(), 16).unwrap_err().errno(), libc::EEXIST);
    assert_eq!(std::fs::read(&path).unwrap(), b"a file of somebody's");
    let long = directory.0.join("x".repeat(200));
    assert_eq!(SharedUnixListener::bind(&long, UnixAccess::default(), 16).unwrap_err().errno(), libc::ENAMETOOLONG);
}

#[test]
fn of_many_that_start_at_once_over_a_stale_socket_one_listens_and_no_file_stays() {
    let directory = TemporaryPath::new("race");
    let path = directory.socket();
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(8);
        let bind = || {
            start.wait();
            SharedUnixListener::bind(&path, UnixAccess::default(), 16)
        };
        let bound: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1);
        for error in bound.iter().filter_map(|bound| bound.as_ref().err()) {
            assert_eq!(error.errno(), libc::EADDRINUSE, "{error}");
        }
        let _peer = unix_client(&path);
        drop(bound);
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
    }
}

#[test]
fn a_path_has_the_mode_that_was_asked_for_and_a_process_that_was_killed_locks_nobody_out() {
    let directory = TemporaryPath::new("mode");
    let path = directory.socket();
    std::fs::write(directory.0.join("mqtt.sock.lock"), "").unwrap(); // left behind, with nobody's lock on it
    let own = rustix::process::getgid().as_raw();
    let access = UnixAccess { mode: Some(0o640), user_id: None, group_id: Some(own) };
    let listener = SharedUnixListener::bind(&path, access, 16).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (0o640, own));
    drop(listener);
    let nobody = UnixAccess { user_id: Some(u32::MAX - 7), ..access };
    if !rustix::process::geteuid().is_root() {
        assert_eq!(SharedUnixListener::bind(&path, nobody, 16).unwrap_err().errno(), libc::EPERM);
    }
    assert!(!path.exists());
}

#[test]
fn somebody_elses_file_at_the_path_is_left_alone() {
    let directory = TemporaryPath::new("replaced");
    let path = directory.socket();
    let listener = SharedUnixListener::bind(&path, UnixAccess::default(), 16).unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());
    drop(other);
}

#[test]
fn a_client_connects_to_a_path() {
    let directory = TemporaryPath::new("connect");
    let path = directory.socket();
    let listener = UnixListener::bind(&path).unwrap();
    let mut plane = Plane::new(small()).unwrap();
    let connection = ConnectionId::new(7, 3);
    let socket = plane.connect_unix(&path, connection).unwrap();
    assert!(matches!(next(&mut plane), SocketEvent::Connected { connection: told, error: None } if told == connection));
    let (mut peer, _) = listener.accept().unwrap();
    plane.receive_multi(socket, connection);
    peer.write_all(b"to the client").unwrap();
    assert_eq!(received(&mut plane).1, b"to the client");
    send_all(&mut plane, socket, connection, b"to the server");
    let mut bytes = [0; 13];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the server");
}

#[test]
fn a_path_where_nobody_listens_refuses() {
    let directory = TemporaryPath::new("refused");
    let mut plane = Plane::new(small()).unwrap();
    drop(UnixListener::bind(directory.socket()).unwrap());
    for (path, errno) in [(directory.socket(), libc::ECONNREFUSED), (directory.0.join("nothing"), libc::ENOENT)] {
        let socket = plane.connect_unix(&path, ConnectionId::new(1, 0)).unwrap();
        match next(&mut plane) {
            SocketEvent::Connected { error, .. } => assert_eq!(error, Some(errno)),
            other => panic!("{other:?}"),
        }
        plane.close(socket, UnderWay::Nothing);
    }
    assert_eq!(plane.sockets(), 0);
}

#[test]
fn unix_connections_fill_ring_after_ring_and_wait_where_there_is_no_slot() {
    let directory = TemporaryPath::new("rings");
    let mut plane = Plane::new(PlaneConfig { sockets_max: 12, ring_sockets_max: 5, ..small() }).unwrap();
    listen(&mut plane, &directory.socket());
    let peers: Vec<UnixStream> = (0..12).map(|_| unix_client(&directory.socket())).collect();
    let sockets: Vec<SocketId> = peers.iter().map(|_| accept(&mut plane)).collect();
    assert_eq!((plane.rings.all.len(), plane.sockets()), (3, 12));
    let mut late = unix_client(&directory.socket());
    plane.accept_more();
    quiet(&mut plane);
    plane.close(sockets[3], UnderWay::Nothing);
    plane.submit().unwrap();
    let socket = accept(&mut plane);
    send_all(&mut plane, socket, ConnectionId::new(0, 0), b"welcome");
    let mut hello = [0; 7];
    late.read_exact(&mut hello).unwrap();
    assert_eq!((&hello, plane.counters().accept_failures), (b"welcome", 0));
}

#[test]
fn a_plane_that_is_dropped_closes_what_it_had_not_told_of() {
    let directory = TemporaryPath::new("dropped");
    let mut plane = Plane::new(small()).unwrap();
    listen(&mut plane, &directory.socket());
    plane.submit().unwrap();
    let mut peer = unix_client(&directory.socket());
    sleep_until_event(&mut plane);
    drop(plane);
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0, "nobody holds the other end");
    assert!(!directory.socket().exists());
}
