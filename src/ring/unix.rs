//! Unix stream sockets: listening at a path, connecting to one, and who is at the other end.
//!
//! A path has one listening socket, whatever the number of shards: they share it. The file is there from binding until the
//! last of them lets go. A file that an earlier process left is removed only if it is a socket that nobody listens on. A second
//! file, locked as long as somebody listens, keeps two processes from doing that at once.

use super::error::{RingError, error};
use crate::ids::UnixPeer;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::fs::{Metadata, Permissions, set_permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A listening socket at a path. Cheap to clone, for a plane each; the file goes with the last clone.
#[derive(Clone, Debug)]
pub struct SharedUnixListener {
    bound: Arc<BoundPath>,
    place: UnixPlace,
}

/// A path that is listened at, or was: whoever opens it again shares the socket of those who have one. Holds no socket itself.
#[derive(Clone, Debug)]
pub struct UnixPlace(Arc<PlaceOfSocket>);

#[derive(Debug)]
struct PlaceOfSocket {
    path: PathBuf,
    access: UnixAccess,
    backlog: i32,
    /// The socket of those who listen there. Locked for as long as binding takes.
    bound: Mutex<Weak<BoundPath>>,
}

#[derive(Debug)]
struct BoundPath {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    file: (u64, u64),
    /// Goes last.
    _lock: LockedFile,
}

/// Who may connect to a path. What is not said is as the process makes files.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnixAccess {
    /// Permissions of the file.
    pub mode: Option<u32>,
    /// Whose it is; anybody else than the process itself needs a privilege.
    pub user_id: Option<u32>,
    /// Whose group it is; one of the process's own, without a privilege.
    pub group_id: Option<u32>,
}

impl SharedUnixListener {
    /// Binds to `path` and listens; `backlog` as in [`ListenConfig`](super::ListenConfig).
    ///
    /// # Errors
    /// Somebody listens there (EADDRINUSE), or what is there is no socket (EEXIST), or the path is too long, or the file cannot be
    /// made what `access` says.
    pub fn bind(path: &Path, access: UnixAccess, backlog: i32) -> Result<Self, RingError> {
        let bound = Mutex::default();
        UnixPlace(Arc::new(PlaceOfSocket { path: path.to_owned(), access, backlog, bound })).open()
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.bound.path
    }

    /// What opens it again when all have let go of it.
    pub fn place(&self) -> UnixPlace {
        self.place.clone()
    }
}

impl UnixPlace {
    /// The socket of those who listen there at present, or, where nobody does, a new one.
    ///
    /// # Errors
    /// As [`SharedUnixListener::bind`]: the path is another's meanwhile.
    pub fn open(&self) -> Result<SharedUnixListener, RingError> {
        let PlaceOfSocket { path, access, backlog, bound } = &*self.0;
        let mut known = bound.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = match known.upgrade() {
            Some(bound) => bound,
            None => Arc::new(BoundPath::bind(path, *access, *backlog)?),
        };
        *known = Arc::downgrade(&bound);
        Ok(SharedUnixListener { bound, place: self.clone() })
    }
}

impl BoundPath {
    fn bind(path: &Path, access: UnixAccess, backlog: i32) -> Result<Self, RingError> {
        let refused = |source: io::Error| RingError::at("listen at", path.display(), source);
        let address = SocketAddrUnix::new(path).map_err(|errno| refused(errno.into()))?;
        let lock = LockedFile::take(path).map_err(|(lock, source)| RingError::at("lock", lock.display(), source))?;
        let socket = open_unix(SocketFlags::CLOEXEC)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address).map_err(refused)?;
                bind(&socket, &address).map_err(|errno| refused(errno.into()))?;
            }
            result => result.map_err(|errno| refused(errno.into()))?,
        }
        let file = identity(&std::fs::symlink_metadata(path).map_err(refused)?);
        let bound = Self { socket, path: path.to_owned(), file, _lock: lock };
        // Nobody connects before it listens, so there is no moment in which the wrong ones could.
        if access.user_id.is_some() || access.group_id.is_some() {
            chown(path, access.user_id, access.group_id).map_err(refused)?;
        }
        if let Some(mode) = access.mode {
            set_permissions(path, Permissions::from_mode(mode)).map_err(refused)?;
        }
        listen(&bound.socket, backlog).map_err(|errno| refused(errno.into()))?;
        Ok(bound)
    }
}

impl AsFd for SharedUnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bound.socket.as_fd()
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.file) {
            // Whoever removed it meanwhile has done the same.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A file beside the path, under a lock that goes with the process however that ends.
#[derive(Debug)]
struct LockedFile {
    path: PathBuf,
    /// Holds the lock.
    _descriptor: OwnedFd,
}

impl LockedFile {
    fn take(path: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        match Self::open(&path) {
            Ok(descriptor) => Ok(Self { path, _descriptor: descriptor }),
            // As the kernel says it of the path itself.
            Err(Errno::AGAIN) => Err((path, Errno::ADDRINUSE.into())),
            Err(errno) => Err((path, errno.into())),
        }
    }

    fn open(path: &Path) -> Result<OwnedFd, Errno> {
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = open(path, flags, Mode::RUSR | Mode::WUSR)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // Whoever had it before may have removed it meanwhile; then others lock another file of that name.
            let locked = fstat(&file)?;
            if std::fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == (locked.st_dev, locked.st_ino)) {
                return Ok(file);
            }
        }
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Still under the lock. If it stays, the next one locks it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket for a connection to a Unix path.
pub(super) fn open_unix(flags: SocketFlags) -> Result<OwnedFd, RingError> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(error("make a socket"))
}

/// As the kernel reads it; refuses what is longer than 107 bytes.
pub(super) fn unix_address(path: &Path) -> Result<SocketAddrUnix, RingError> {
    SocketAddrUnix::new(path).map_err(|errno| RingError::at("connect to", path.display(), errno))
}

/// Process, user and group that the system noted when the peer connected.
pub(super) fn peer_of(socket: &OwnedFd) -> Result<UnixPeer, RingError> {
    // Not by rustix: its process id is never zero, and the kernel's is for a peer in another container.
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which are those of `found`; any bytes make a `ucred`.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut found).cast(), &raw mut len)
    };
    if result != 0 {
        return Err(error("ask who has connected")(io::Error::last_os_error()));
    }
    let process_id = u32::try_from(found.pid).ok().filter(|&id| id != 0);
    Ok(UnixPeer { process_id, user_id: found.uid, group_id: found.gid })
}

/// Removes the file of a socket that nobody listens on.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Errno::EXIST.into());
    }
    let probe =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path),
        // It has connected, or would have to wait: somebody listens. Or it may not ask.
        Ok(()) | Err(Errno::AGAIN) => Err(Errno::ADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
