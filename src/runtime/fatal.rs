//! The end of a process that cannot go on.
//!
//! Owns: the order of things then: the reason as the last line of the log, the log written out, the end.
//! Always holds: whoever calls does not come back; no other thread's line comes behind the reason.

use std::fmt::Display;

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

/// Logs `reason`, writes the log out and ends the process.
pub fn fatal(reason: &dyn Display, end: End) -> ! {
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
