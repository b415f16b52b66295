//! The end of a process that cannot go on.
//!
//! Owns: the order of things then: the reason as the last line of the log, the log written out, the end.
//! Always holds: whoever calls does not come back; the first reason is written out, whoever else has one at the same time: a disk fails all shards at once.

use std::fmt::Display;
use std::sync::OnceLock;
use std::thread::ThreadId;

use signal_hook::low_level::emulate_default_handler;

use crate::config::Exit;
use crate::telemetry::log;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exit(Exit),
    /// By SIGABRT, with a core dump where the system keeps one: a bug of ours, or a thread that hangs.
    Abort,
    /// By this signal, as if nobody had caught it: whoever waits for the process sees that it was killed.
    Signal(i32),
}

/// Who ends the process. A second one would end it before the first one's line is written.
static ENDS: OnceLock<ThreadId> = OnceLock::new();

/// Logs `reason`, writes the log out and ends the process.
pub fn fatal(reason: &dyn Display, end: End) -> ! {
    let own = std::thread::current().id();
    while *ENDS.get_or_init(|| own) != own {
        std::thread::park();
    }
    log::event::fatal(reason);
    log::finish();
    match end {
        End::Exit(exit) => std::process::exit(exit as i32),
        End::Abort => std::process::abort(),
        End::Signal(signal) => {
            // It comes back only where the system refuses even that.
            let _ = emulate_default_handler(signal);
            std::process::abort()
        }
    }
}
