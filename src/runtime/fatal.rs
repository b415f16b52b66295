//! The end of a process that cannot go on.
//!
//! Owns: the order of things then: the reason as the last line of the log, the log written out, the end.
//! Always holds: whoever calls does not come back; no other thread's line comes behind the reason.

use std::fmt::Display;

use crate::config::Exit;
use crate::telemetry::log;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exit(Exit),
    /// By SIGABRT, with a core dump where the system keeps one: a bug of ours, or a thread that hangs.
    Abort,
}

/// Logs `reason`, writes the log out and ends the process.
pub fn fatal(reason: &dyn Display, end: End) -> ! {
    log::event::fatal(reason);
    log::finish();
    match end {
        End::Exit(exit) => std::process::exit(exit as i32),
        End::Abort => std::process::abort(),
    }
}
