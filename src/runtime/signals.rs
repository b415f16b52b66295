//! What signals ask of the broker.
//!
//! Owns: the thread that hears them, and a thread for each thing they ask for that waits for a file system.
//! Always holds: whoever hears signals waits for nothing else. A file that hangs holds up its own errand, never the end of
//! the process, and nobody joins these threads.

use std::{
    io,
    sync::Arc,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::Duration,
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::fatal::{End, fatal};
use super::file_watch;
use super::reload::Reloader;
use crate::telemetry::log;

/// Catches them from now on; what comes before [`start`] waits for it.
pub(super) fn catch() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])
}

/// What comes of hearing signals.
pub(super) struct SignalsHeard {
    /// The name of the first that stops the broker.
    pub(super) stop: Receiver<&'static str>,
    /// Reloads as SIGHUP does.
    pub(super) reload: Errand,
}

/// Does what they ask for, and reloads when files change on disk, until the process ends.
pub(super) fn start(signals: Signals, mut reloader: Reloader) -> io::Result<SignalsHeard> {
    let log = reloader.log.clone();
    let (files, watch_s) = (Arc::clone(&reloader.files), reloader.config.process.watch_files_s);
    let errands = Errands {
        reload: Errand::start("reload", move || reloader.run())?,
        reopen: Errand::start("log-reopen", move || match log.reopen() {
            Ok(()) => log::event::log_reopened(),
            Err(error) => log::event::log_reopen_failed(&error),
        })?,
    };
    if watch_s > 0 {
        let reload = errands.reload.clone();
        file_watch::start(files, Duration::from_secs(watch_s.into()), move || reload.ask())?;
    }
    let (stop, told_to_stop) = mpsc::channel();
    let reload = errands.reload.clone();
    thread::Builder::new().name("signals".into()).spawn(move || hear(signals, &errands, &stop))?;
    Ok(SignalsHeard { stop: told_to_stop, reload })
}

/// What may take as long as a file system does.
struct Errands {
    reload: Errand,
    reopen: Errand,
}

fn hear(mut signals: Signals, errands: &Errands, stop: &mpsc::Sender<&'static str>) {
    let mut is_stopping = false;
    for signal in signals.forever() {
        let name = match signal {
            SIGHUP => {
                if is_stopping {
                    log::event::signal_ignored("SIGHUP");
                } else {
                    errands.reload.ask();
                }
                continue;
            }
            SIGUSR1 => {
                errands.reopen.ask();
                continue;
            }
            SIGUSR2 => {
                log::event::signal_ignored("SIGUSR2");
                continue;
            }
            SIGINT => "SIGINT",
            _ => "SIGTERM",
        };
        if is_stopping {
            fatal(&format_args!("{name} while stopping: the broker ends at once"), End::Signal(signal));
        }
        is_stopping = true;
        // Nobody waits for it any more when the start has failed meanwhile, and then the process ends anyway.
        let _ = stop.send(name);
    }
}

/// A thread that does one thing whenever it is asked to. What is asked while it is at it is done once more afterwards.
#[derive(Clone)]
pub(super) struct Errand(SyncSender<()>);

impl Errand {
    fn start(name: &str, mut run: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = mpsc::sync_channel(1);
        thread::Builder::new().name(name.into()).spawn(move || asked.iter().for_each(|()| run()))?;
        Ok(Self(ask))
    }

    /// Has it done, soon.
    pub(super) fn ask(&self) {
        // If one waits already, that one will see everything that this one would.
        let _ = self.0.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_while_it_runs_is_done_once_more() {
        let (begun, begins) = mpsc::channel();
        let (let_end, may_end) = mpsc::channel::<()>();
        let errand = Errand::start("test", move || {
            begun.send(()).unwrap();
            // Closed when the test lets go of all of them.
            let _ = may_end.recv();
        })
        .unwrap();
        errand.ask();
        begins.recv().unwrap();
        for _ in 0..3 {
            errand.ask();
        }
        assert!(begins.try_recv().is_err(), "one at a time");
        let_end.send(()).unwrap();
        begins.recv().unwrap();
        drop((let_end, errand));
        assert!(begins.recv().is_err(), "three that wait are one");
    }
}
