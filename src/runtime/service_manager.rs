//! What the service manager (systemd, `Type=notify`) is told: how far a start has come, that clients can connect, what serves whom, a reload, the
//! end; and, where it watches, that the shards still answer.
//!
//! Always holds: the watchdog is fed when every shard has answered a question that was put to it since, and never otherwise. A shard
//! that hangs, or sleeps through its wake, starves it. Without `$NOTIFY_SOCKET` nothing is told and no thread is started. A manager that
//! cannot be reached is a line of the log, once a process.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use sd_notify::NotifyState;

use super::disk::ReadProgress;
use crate::inbox::{InboxSender, SendError};
use crate::shard::{Command, Reply};
use crate::telemetry::{Report, log};

/// The variable that says where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// From one status line to the next.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// From one look at how far a start has come to the next, and what is asked for in time while it goes on.
const START_INTERVAL: Duration = Duration::from_millis(500);
const START_EXTENSION: Duration = Duration::from_secs(60);

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct ServiceManager {
    listens: bool,
}

impl ServiceManager {
    /// The one that this process was started by, if it wants to be told.
    pub(super) fn find() -> Self {
        Self { listens: std::env::var_os(SOCKET).is_some_and(|socket| !socket.is_empty()) }
    }

    /// Says how far reading back has come until what is returned is dropped.
    pub(super) fn is_reading(&self, progress: &Arc<ReadProgress>) -> io::Result<Option<ReadingTold>> {
        if !self.listens {
            return Ok(None);
        }
        let (told, ends) = mpsc::channel::<()>();
        let progress = Arc::clone(progress);
        let tell = move || {
            let mut last = None;
            loop {
                let (read, all) = progress.bytes();
                let percent = (read * 100).checked_div(all).unwrap_or(0).min(100);
                let status = format!("Reading the data directory back: {percent} % of {} MB", all.div_ceil(1_000_000));
                // More time is asked for as long as it goes on.
                if last.replace(read) != Some(read) {
                    let extension = NotifyState::ExtendTimeoutUsec(START_EXTENSION.as_micros() as u32);
                    tell(&[NotifyState::Status(&status), extension]);
                }
                if ends.recv_timeout(START_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("service-start".into()).spawn(tell)?;
        Ok(Some(ReadingTold(told)))
    }

    /// Clients wait for so many shards to restore what is theirs.
    pub(super) fn is_restoring(&self, done: usize, shards: usize) {
        if self.listens {
            let plural = if shards == 1 { "" } else { "s" };
            let status = format!("Restoring sessions: {done} of {shards} shard{plural}");
            tell(&[NotifyState::Status(&status), NotifyState::ExtendTimeoutUsec(START_EXTENSION.as_micros() as u32)]);
        }
    }

    /// Clients can connect. From now on a thread asks the shards how they are.
    pub(super) fn is_ready(&self, inboxes: Vec<InboxSender>) -> io::Result<()> {
        if !self.listens {
            return Ok(());
        }
        tell(&[NotifyState::Ready, NotifyState::Status("Clients can connect")]);
        let watched = sd_notify::watchdog_enabled();
        // Three questions in the time that it waits.
        let interval = watched.map_or(STATUS_INTERVAL, |time| (time / 3).min(STATUS_INTERVAL));
        let ask = move || {
            let mut before = (Instant::now(), ServedTraffic::default());
            loop {
                std::thread::sleep(interval);
                let asked: Vec<_> = inboxes.iter().map(|inbox| inbox.send(Command::Counts)).collect();
                match answers(asked, Instant::now() + interval) {
                    Ok(report) => {
                        let now = (Instant::now(), ServedTraffic::of(&report));
                        let status = now.1.status(&before.1, now.0 - before.0);
                        before = now;
                        let feed = watched.map(|_| NotifyState::Watchdog);
                        tell(&[Some(NotifyState::Status(&status)), feed].into_iter().flatten().collect::<Vec<_>>());
                    }
                    Err(Silent::Ends) => return,
                    Err(Silent::Hangs(shard)) => {
                        tell(&[NotifyState::Status(&format!("Shard {shard} does not answer"))]);
                    }
                }
            }
        };
        std::thread::Builder::new().name("service".into()).spawn(ask).map(drop)
    }

    /// The settings are read again.
    pub(super) fn is_reloading(&self) {
        if self.listens {
            // A clock that cannot be read is none that the manager could compare with.
            let since = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
            tell(&[NotifyState::Reloading, since]);
        }
    }

    /// They have been, whatever has come of it.
    pub(super) fn has_reloaded(&self) {
        if self.listens {
            tell(&[NotifyState::Ready]);
        }
    }

    /// The broker ends.
    pub(super) fn is_stopping(&self) {
        if self.listens {
            tell(&[NotifyState::Stopping, NotifyState::Status("Sending what is queued, and stopping")]);
        }
    }

    /// Before that so many clients are asked to go. More time is asked for as long as it goes on.
    pub(super) fn is_emptying(&self, clients: u64) {
        if self.listens {
            let plural = if clients == 1 { "" } else { "s" };
            let status = format!("Emptying the broker: {clients} client{plural} left");
            tell(&[NotifyState::Status(&status), NotifyState::ExtendTimeoutUsec(START_EXTENSION.as_micros() as u32)]);
        }
    }
}

/// How far reading back has come is told until this goes.
pub(super) struct ReadingTold(#[expect(dead_code, reason = "its end ends the thread")] mpsc::Sender<()>);

/// Tells the manager; the first time that it cannot be reached is told in the log.
fn tell(states: &[NotifyState<'_>]) {
    static UNREACHABLE: Once = Once::new();
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    if let Err(error) = send(&socket, states) {
        UNREACHABLE.call_once(|| {
            log::event::service_manager_unreachable(&socket.to_string_lossy(), &error.to_string());
        });
    }
}

/// Sends one datagram. A name that begins with `@` is one of the abstract namespace, which sd-notify takes for a path.
fn send(socket: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(name) = socket.as_bytes().strip_prefix(b"@") else { return sd_notify::notify(states) };
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    // A datagram goes whole or not at all.
    UnixDatagram::unbound()?.send_to_addr(lines.join("\n").as_bytes(), &SocketAddr::from_abstract_name(name)?).map(drop)
}

/// Why not all shards have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silent {
    /// This one has not, in time.
    Hangs(usize),
    /// They stop, as they were told to.
    Ends,
}

/// What all shards answer together, or the first that has not until `deadline`.
fn answers(asked: Vec<Result<Receiver<Reply>, SendError>>, deadline: Instant) -> Result<Report, Silent> {
    let mut sum = Report::default();
    for (shard, asked) in asked.into_iter().enumerate() {
        let answer = match asked {
            Ok(answer) => answer.recv_deadline(deadline),
            // It has more questions than it comes to: whether it answers them is seen the next time.
            Err(SendError::Full) => return Err(Silent::Hangs(shard)),
            Err(_) => return Err(Silent::Ends),
        };
        match answer {
            Ok(Reply::Counts(report)) => sum.add(&report),
            Ok(_) => {}
            Err(error) if error.is_timeout() => return Err(Silent::Hangs(shard)),
            Err(_) => return Err(Silent::Ends),
        }
    }
    Ok(sum)
}

/// What the status line is about.
#[derive(Clone, Copy, Debug, Default)]
struct ServedTraffic {
    clients: u64,
    received: u64,
    sent: u64,
}

impl ServedTraffic {
    fn of(report: &Report) -> Self {
        let counters = &report.counters;
        Self {
            clients: report.gauges.clients_connected,
            received: counters.publish_received,
            sent: counters.publish_sent,
        }
    }

    /// With what has come since `before`, which was so long ago.
    fn status(&self, before: &Self, since: Duration) -> String {
        let a_second = |now: u64, before: u64| {
            let milliseconds = since.as_millis().max(1) as u64;
            now.saturating_sub(before).saturating_mul(1_000) / milliseconds
        };
        let (received, sent) = (a_second(self.received, before.received), a_second(self.sent, before.sent));
        let plural = if self.clients == 1 { "" } else { "s" };
        format!("{} client{plural}, {received} messages a second in and {sent} out", self.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn the_watchdog_is_fed_by_answers_of_all_shards_alone() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let (first, first_answer) = bounded(1);
        let (second, second_answer) = bounded(1);
        let mut report = Report::default();
        report.gauges.clients_connected = 3;
        first.send(Reply::Counts(Box::new(report.clone()))).unwrap();
        assert_eq!(
            answers(vec![Ok(first_answer.clone()), Ok(second_answer.clone())], soon()).err(),
            Some(Silent::Hangs(1))
        );
        first.send(Reply::Counts(Box::new(report.clone()))).unwrap();
        second.send(Reply::Counts(Box::new(report))).unwrap();
        let both = answers(vec![Ok(first_answer.clone()), Ok(second_answer)], soon()).unwrap();
        assert_eq!(both.gauges.clients_connected, 6);
        assert_eq!(answers(vec![Err(SendError::Full)], soon()).err(), Some(Silent::Hangs(0)));
        drop(first);
        assert_eq!(answers(vec![Ok(first_answer)], soon()).err(), Some(Silent::Ends));
    }

    #[test]
    fn an_abstract_name_is_reached_and_a_name_that_nobody_has_is_an_error() {
        let name = format!("dunlin-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        send(OsStr::new(&format!("@{name}")), &[NotifyState::Ready, NotifyState::Status("Here")]).unwrap();
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"READY=1\nSTATUS=Here");
        drop(socket);
        let error = send(OsStr::new(&format!("@{name}")), &[NotifyState::Ready]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_status_line_has_rates() {
        let before = ServedTraffic { clients: 1, received: 100, sent: 7 };
        let now = ServedTraffic { clients: 2, received: 350, sent: 7 };
        let status = now.status(&before, Duration::from_millis(500));
        assert_eq!(status, "2 clients, 500 messages a second in and 0 out");
        assert!(before.status(&before, Duration::ZERO).starts_with("1 client, "));
    }
}
