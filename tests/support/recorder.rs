//! A server of HTTP that keeps what it was sent, and answers as it is told.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long what is expected may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// Method, path, version.
    pub(crate) line: String,
    /// In small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    /// What it answers; 0 is no answer at all.
    status: AtomicU16,
    delay_ms: AtomicU64,
    ends: AtomicBool,
}

/// See the module's text. It ends with its value.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Listens at a port, or at one that the system chooses.
    pub(crate) fn start(at: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind(at.unwrap_or(([127, 0, 0, 1], 0).into())).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { status: AtomicU16::new(200), ..Shared::default() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.ends.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serve(stream, &serving));
            }
        });
        Self { address, shared }
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// How long it takes to each answer from now on.
    pub(crate) fn take(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// What it was sent so far, and answered with success or not.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what it was sent is enough.
    pub(crate) fn wait_for(&self, what: &str, enough: impl Fn(&[Recorded]) -> bool) -> Vec<Recorded> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let requests = self.requests();
            if enough(&requests) {
                return requests;
            }
            let last = requests.last();
            assert!(Instant::now() < deadline, "{what}: {} requests, the last {last:?}", requests.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !shared.ends.load(Ordering::SeqCst) {
        if let Some((recorded, length)) = whole(&bytes) {
            bytes.drain(..length);
            std::thread::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst)));
            let status = shared.status.load(Ordering::SeqCst);
            if (200..300).contains(&status) {
                shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
            }
            let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
}

/// The request at the beginning, if it is whole, and how long it is.
fn whole(bytes: &[u8]) -> Option<(Recorded, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a number"));
    let body = bytes.get(end + 4..end + 4 + length)?;
    let body = String::from_utf8_lossy(body).into_owned();
    Some((Recorded { line, headers, body }, end + 4 + length))
}
