//! Log lines: what they look like, where they go, and how many there may be.
//!
//! Owns: the process's one subscriber, the thread that writes, the file and its reopening.
//! Always holds: nothing here blocks its caller. A line is formatted by the thread that logs it and handed to a writer
//! thread; when that one is stalled by a disk or a pipe, lines are lost and counted. A line is one line: whatever a
//! client supplied is escaped and cut (`line`), and a storm of one event is thinned out and counted (`rate`).
//! Leaves to others: when an event happens. [`event`] has one type for each that the edge logs.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::limits;
use crate::telemetry::Verbosity;

pub mod event;
mod line;
mod rate;
mod recent;

pub use line::Format;
pub use recent::{RecentLine, recent_lines};

/// How the log is to be.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Shape of a line.
    pub format: Format,
    /// Least severe line that is written.
    pub level: tracing::Level,
    /// File to append to; `None` is standard error.
    pub file: Option<PathBuf>,
    /// Lines a second of one kind of event; 0 is all of them.
    pub rate: u32,
    /// Standard error is the journal's: lines begin with their priority.
    pub for_journal: bool,
}

/// Whether standard error is the stream that systemd has made for the journal (`$JOURNAL_STREAM`, systemd.exec(5)), and not one that somebody
/// has put in its place.
pub fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(found) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", found.st_dev, found.st_ino)
}

/// The open log. Dropping it is [`finish`].
#[derive(Debug)]
pub struct LogWriter {
    control: LogControl,
    lost: ErrorCounter,
}

/// Changes the open log, from any thread. One that is left hanging keeps no log open.
#[derive(Clone, Debug)]
pub struct LogControl {
    output: Output,
    filter: reload::Handle<Targets, Registry>,
}

/// What writes the lines of the open log.
struct Writing {
    // Fields drop in this order: the summaries of the reporter are lines, so the writer goes last.
    _reporter: Reporter,
    _writer: WorkerGuard,
}

/// The process's, while a log is open.
static WRITING: Mutex<Option<Writing>> = Mutex::new(None);

/// Opens the log and makes it the process's; once per process.
///
/// # Errors
/// The file cannot be opened, or a log is open already.
pub fn start(options: &LogOptions) -> io::Result<LogWriter> {
    let output = Output::open(options.file.as_deref())?;
    let (writer, guard) = writer(output.clone());
    let lost = writer.error_counter();
    rate::set_lines_per_s(options.rate);
    let (lines, filter) = subscriber(options, writer);
    lines.try_init().map_err(io::Error::other)?;
    let writing = Writing { _reporter: Reporter::start(lost.clone())?, _writer: guard };
    *WRITING.lock().unwrap_or_else(PoisonError::into_inner) = Some(writing);
    Ok(LogWriter { control: LogControl { output, filter }, lost })
}

/// Writes what is still queued, for about a second at most, and ends the log: later lines go nowhere. For any thread.
pub fn finish() {
    let writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(writing);
}

/// What the core has to tell, for the lines that are wanted now. A load and two comparisons.
pub fn verbosity() -> Verbosity {
    match LevelFilter::current() {
        level if level >= LevelFilter::TRACE => Verbosity::Trace,
        level if level >= LevelFilter::DEBUG => Verbosity::Debug,
        _ => Verbosity::Info,
    }
}

/// Writes the lines of `say` to standard error at once: for what is said before there is a log, or beside it.
pub fn say_on_stderr(format: Format, say: impl FnOnce()) {
    let options =
        LogOptions { format, level: tracing::Level::INFO, file: None, rate: 0, for_journal: stderr_is_journal() };
    tracing::subscriber::with_default(subscriber(&options, io::stderr).0, say);
}

impl LogWriter {
    /// What changes it while it is open.
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }

    /// Lines that were lost since the start because the writer was stalled.
    pub fn lines_lost(&self) -> u64 {
        self.lost.dropped_lines() as u64
    }
}

impl LogControl {
    /// Opens the log file again under its name, after it was moved away; SIGUSR1. Standard error stays as it is. It takes
    /// as long as the file system does.
    ///
    /// # Errors
    /// The file cannot be opened; lines go on into the one that is open.
    pub fn reopen(&self) -> io::Result<()> {
        self.output.reopen()
    }

    /// Uses another level and rate from now on; format and file stay.
    pub fn change(&self, level: tracing::Level, rate: u32) {
        rate::set_lines_per_s(rate);
        self.filter.reload(targets(level)).expect("the subscriber is the process's and stays");
    }
}

fn writer(output: Output) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .thread_name("log")
        .lossy(true)
        .buffered_lines_limit(limits::LOG_QUEUE_LINES)
        .finish(output)
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        finish();
    }
}

/// What formats and filters, and how to filter otherwise; apart from [`start`] so that a test can have one of its own.
fn subscriber<W>(
    options: &LogOptions,
    writer: W,
) -> (impl Subscriber + Send + Sync + use<W>, reload::Handle<Targets, Registry>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(options.level));
    let formatter = line::LineFormatter::new(options.format).for_journal(options.for_journal && options.file.is_none());
    let lines = fmt::layer().event_format(formatter).with_writer(writer);
    (tracing_subscriber::registry().with(filter).with(lines), handle)
}

fn targets(level: tracing::Level) -> Targets {
    let level = LevelFilter::from_level(level);
    // What other crates have to say is for their authors, below a warning. What operators do, and what they ask for, is told at any level.
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("dunlin", level)
        .with_target(event::AUDIT_TARGET, level.max(LevelFilter::INFO))
}

/// Where lines go: shared by the writer thread and whoever reopens. No shard ever takes the lock.
#[derive(Clone, Debug)]
struct Output {
    path: Option<PathBuf>,
    stream: Arc<Mutex<Stream>>,
}

#[derive(Debug)]
enum Stream {
    Stderr(io::Stderr),
    File(io::BufWriter<std::fs::File>),
}

impl Output {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let stream = match path {
            Some(path) => Stream::open(path)?,
            None => Stream::Stderr(io::stderr()),
        };
        Ok(Self { path: path.map(Path::to_owned), stream: Arc::new(Mutex::new(stream)) })
    }

    fn reopen(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        // Opened before the lock is taken and the old one given up: a failure changes nothing.
        let stream = Stream::open(path)?;
        let mut old = self.lock();
        old.flush()?;
        *old = stream;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stream> {
        // A writer that panicked left a stream behind, not a broken invariant.
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self::File(io::BufWriter::with_capacity(64 * 1024, file)))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr(stream) => stream.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr(stream) => stream.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    /// A line, by the writer's thread.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        recent::keep(bytes);
        self.lock().write_all(bytes)
    }

    /// Called once the queue is empty, so that a burst costs few system calls and a lone line appears at once.
    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// A thread that once a second logs what was held back and what was lost, if anything was.
#[derive(Debug)]
struct Reporter {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    fn start(lost: ErrorCounter) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            let mut told = 0;
            loop {
                let running = stopped.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout);
                rate::take_suppressed().for_each(|(kind, suppressed)| event::lines_suppressed(kind, suppressed));
                let total = lost.dropped_lines() as u64;
                if total > told {
                    event::lines_lost(total - told, total);
                    told = total;
                }
                if !running {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("log-report".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // The thread sees its channel close, reports once more and ends.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
