//! Broker processes: started once per shard count and shared, or one of its own for a test that needs other flags.
//!
//! A broker never outlives the test process: whoever shares one never drops it, so a small reaper waits for the test
//! process to end (its standard input closes) and then stops the broker by its process id. `DUNLIN_TEST_LOG=debug` sets
//! the log level of the brokers and keeps their logs in `target/tmp`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::transport::{broker_flags, listener_index};

/// How long a broker may take to print its listening line.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running broker.
pub(crate) struct Broker {
    pub(crate) addr: SocketAddr,
    process: Option<Process>,
}

struct Process {
    child: Mutex<Child>,
    pid: u32,
    log: PathBuf,
    reaper: Mutex<Child>,
}

/// The broker that `DUNLIN_TEST_BROKER=host:port` names, for running the suite against another one.
pub(crate) fn external() -> Option<SocketAddr> {
    std::env::var("DUNLIN_TEST_BROKER")
        .ok()
        .map(|a| a.parse().expect("DUNLIN_TEST_BROKER is host:port with an address"))
}

/// The broker with default flags that all tests share: 1, 2 or 5 shards.
pub(crate) fn shared(shards: usize) -> &'static Broker {
    static BROKERS: [OnceLock<Broker>; 3] = [const { OnceLock::new() }; 3];
    let slot = match shards {
        1 => 0,
        2 => 1,
        5 => 2,
        other => panic!("no shared broker has {other} shards"),
    };
    BROKERS[slot].get_or_init(|| match external() {
        Some(addr) => Broker { addr, process: None },
        None => Broker::start(shards, &[]),
    })
}

impl Broker {
    /// Starts the built binary on a free port and waits for its listening line.
    pub(crate) fn start(shards: usize, flags: &[&str]) -> Broker {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("conformance-{}-{number}.log", std::process::id()));
        let log_level = std::env::var("DUNLIN_TEST_LOG").unwrap_or_else(|_| "warn".into());
        let output = fs::File::create(&log).expect("the target directory is writable");
        let errors = output.try_clone().expect("a second handle on the log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .args(broker_flags())
            .args(["--port", "0", "--no-pin", "--storage", "memory", "--shards", &shards.to_string()])
            .args(
                if flags.contains(&"--log-level") { None } else { Some(["--log-level", &log_level]) }.iter().flatten(),
            )
            .args(flags)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("the broker binary starts");
        let pid = child.id();
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(addr) = listening_address(&text) {
                let process = Process { child: Mutex::new(child), pid, reaper: Mutex::new(reaper(pid, &log)), log };
                return Broker { addr, process: Some(process) };
            }
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                panic!("the broker ended ({status}) before it listened, flags {flags:?}:\n{text}");
            }
            if began.elapsed() > START_TIMEOUT {
                let _ = child.kill();
                panic!("the broker did not print its listening line in {START_TIMEOUT:?}, flags {flags:?}:\n{text}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What became of the broker if it is no longer running, with the end of its log.
    pub(crate) fn obituary(&self) -> Option<String> {
        let process = self.process.as_ref()?;
        let status = process.child.lock().expect("no test panics here").try_wait().ok()??;
        Some(format!("THE BROKER IS GONE: {status}; the end of its log:\n{}", self.log_tail()))
    }

    /// Everything the broker has printed.
    pub(crate) fn log(&self) -> Vec<u8> {
        self.process.as_ref().map(|p| fs::read(&p.log).unwrap_or_default()).unwrap_or_default()
    }

    /// The last lines the broker wrote.
    fn log_tail(&self) -> String {
        let text = String::from_utf8_lossy(&self.log()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The process id; `None` for an external broker.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|p| p.pid)
    }

    /// Asks the broker to stop in an orderly way (SIGTERM).
    pub(crate) fn terminate(&self) {
        let pid = self.pid().expect("only a broker of our own is stopped");
        let status = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().expect("sh starts");
        assert!(status.success(), "SIGTERM to {pid}");
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let pid = self.pid().expect("only a broker of our own is measured");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS is in every status");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
    }

    /// CPU time used so far, user and system.
    pub(crate) fn cpu_time(&self) -> Duration {
        let pid = self.pid().expect("only a broker of our own is measured");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the broker runs");
        // The fields are counted behind the command name, which ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in parentheses").1.split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|i| fields[*i].parse::<u64>().expect("clock ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_gone(&self, limit: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.obituary().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        for child in [&mut process.child, &mut process.reaper] {
            if let Ok(child) = child.get_mut() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        let _ = fs::remove_file(&process.log);
    }
}

/// A process that stops the broker when this one has ended: its `read` returns when the write end of its standard input,
/// held by this process alone, closes.
fn reaper(pid: u32, log: &Path) -> Child {
    Command::new("sh")
        .args([
            "-c",
            "trap '' INT TERM HUP; read _; kill -KILL $0 2>/dev/null; [ -n \"$2\" ] || rm -f \"$1\"",
            &pid.to_string(),
        ])
        .arg(log)
        .arg(std::env::var("DUNLIN_TEST_LOG").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts")
}

/// Finds `... listening on ADDRESS, ADDRESS ...` in what the broker printed.
fn listening_address(output: &str) -> Option<SocketAddr> {
    let line = output.lines().find(|line| line.contains(" listening on "))?;
    let rest = line.split(" listening on ").nth(1)?;
    rest.split_whitespace().nth(listener_index())?.trim_end_matches(',').parse().ok()
}
