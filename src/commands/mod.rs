//! What the binary does besides running the broker: `dunlin passwd ...`, `dunlin acl ...`, `dunlin ctl ...`, `dunlin healthcheck`,
//! `dunlin import`, `dunlin sink`, `dunlin completions`, `dunlin man`.
//!
//! Owns: the arguments of each command, and what it reads, writes and prints.
//! Always holds: a command asks a running broker by its admin server or not at all; a file is replaced whole or not at all.
//! Leaves to others: formats (`auth`), exit statuses (`config`).

mod acl;
mod ctl;
mod healthcheck;
mod http;
mod import;
mod manual;
mod passwd;
mod way;

use std::ffi::OsString;

use crate::config::Exit;

/// A command line that is declared elsewhere.
pub type DeclaredCommand = fn() -> clap::Command;

/// Runs the command that the arguments (the program's name first) name; `None` if they name none that is here. `others` are commands that
/// somebody else runs: manuals and completions have them, too.
pub fn run(arguments: &[OsString], others: &[DeclaredCommand]) -> Option<Exit> {
    match arguments.get(1)?.to_str()? {
        "acl" => Some(acl::run(&arguments[1..])),
        "completions" => Some(manual::completions(&arguments[1..], others)),
        "ctl" => Some(ctl::run(&arguments[1..])),
        "healthcheck" => Some(healthcheck::run(&arguments[1..])),
        "import" => Some(import::run(&arguments[1..])),
        "man" => Some(manual::man(&arguments[1..], others)),
        "passwd" => Some(passwd::run(&arguments[1..])),
        "sink" => Some(ctl::run_sink(&arguments[1..])),
        _ => None,
    }
}

/// Shows what is wrong with a command line, or the help that was asked for.
fn usage(error: &clap::Error) -> Exit {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
    // A terminal that has gone is told nothing.
    let _ = error.print();
    exit
}
