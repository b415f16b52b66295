//! A file system of one file, whose bytes a test has: as little of FUSE as a loop device asks for.
//!
//! Always holds: requests are answered one after the other, by one thread, which ends when the file system is unmounted.
//! Leaves to others: what the bytes are, and what becomes of them ([`OneFile`]).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// What the file is. An error is the system's number.
pub(crate) trait OneFile: Send + 'static {
    fn len(&mut self) -> u64;
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, i32>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32>;
    fn sync(&mut self) -> Result<(), i32>;
}

/// A file system that is mounted, until this goes.
pub(crate) struct FuseMount {
    path: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl FuseMount {
    /// What the file in it is called.
    pub(crate) const FILE: &'static str = "disk";

    /// Mounts it at a folder.
    pub(crate) fn new(path: &Path, file: impl OneFile) -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "one-file"]).arg(path);
        let output = mount.stdin(Stdio::from(device.try_clone()?)).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let server = std::thread::spawn(move || serve(device, file));
        Ok(Self { path: path.to_owned(), server: Some(server) })
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        let is_gone =
            Command::new("umount").arg("--lazy").arg(&self.path).status().is_ok_and(|status| status.success());
        if let Some(server) = self.server.take().filter(|_| is_gone) {
            let _ = server.join();
        }
    }
}

const REQUEST_MAX_BYTES: usize = 1024 * 1024 + 4096;
const WRITE_MAX_BYTES: u32 = 128 * 1024;
const HEADER_BYTES: usize = 40;
const ROOT: u64 = 1;
const NODE: u64 = 2;
/// Of a file that is opened: nothing of it is cached.
const DIRECT_IO: u32 = 1;
const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const ENOSYS: i32 = 38;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn serve(mut device: File, mut file: impl OneFile) {
    let mut request = vec![0; REQUEST_MAX_BYTES];
    loop {
        let len = match device.read(&mut request) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted || error.raw_os_error() == Some(ENOENT) => continue,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(ENODEV), "it is unmounted");
                return;
            }
        };
        let (code, unique, node) = (u32_at(&request, 4), u64_at(&request, 8), u64_at(&request, 16));
        let Some(answer) = answer(&mut file, code, node, &request[HEADER_BYTES..len]) else { continue };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let mut reply = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        reply.extend(i32::to_ne_bytes(error));
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        // Whoever asked may have been interrupted.
        let _ = device.write(&reply);
    }
}

/// `None`: nobody waits for one.
fn answer(file: &mut impl OneFile, code: u32, node: u64, body: &[u8]) -> Option<Result<Vec<u8>, i32>> {
    const LOOKUP: u32 = 1;
    const FORGET: [u32; 3] = [2, 36, 42]; // and an interrupt
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    const WRITE: u32 = 16;
    const RELEASE: [u32; 3] = [18, 25, 38]; // and a flush, and the end
    const FSYNC: u32 = 20;
    const INIT: u32 = 26;
    Some(match code {
        _ if FORGET.contains(&code) => return None,
        INIT => Ok(init()),
        LOOKUP if body.strip_suffix(&[0]) == Some(FuseMount::FILE.as_bytes()) => {
            let mut entry = numbers(&[NODE, 0, 1, 1]);
            entry.extend([0; 8]);
            entry.extend(attributes(NODE, file.len()));
            Ok(entry)
        }
        LOOKUP => Err(ENOENT),
        GETATTR => {
            let mut found = numbers(&[1, 0]);
            found.extend(attributes(node, file.len()));
            Ok(found)
        }
        OPEN => Ok(numbers(&[0, u64::from(DIRECT_IO)])),
        READ => {
            let mut bytes = vec![0; u32_at(body, 16) as usize];
            file.read(u64_at(body, 8), &mut bytes).map(|read| {
                bytes.truncate(read);
                bytes
            })
        }
        WRITE => {
            let len = u32_at(body, 16);
            file.write(u64_at(body, 8), &body[40..40 + len as usize]).map(|()| numbers(&[u64::from(len)]))
        }
        FSYNC => file.sync().map(|()| Vec::new()),
        _ if RELEASE.contains(&code) => Ok(Vec::new()),
        _ => Err(ENOSYS),
    })
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// Version 7.31, and nothing that is optional.
fn init() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [7, 31, 0, 0, 0, WRITE_MAX_BYTES, 1, 0, 0] {
        bytes.extend(u32::to_ne_bytes(number));
    }
    bytes.resize(64, 0);
    bytes
}

fn attributes(node: u64, len: u64) -> Vec<u8> {
    let mode: u32 = if node == ROOT { 0o040_700 } else { 0o100_600 };
    let mut bytes = numbers(&[node, len, len / 512, 0, 0, 0]);
    for number in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        bytes.extend(u32::to_ne_bytes(number));
    }
    bytes
}
