//! `dunlin healthcheck`: whether a broker lives, for containers and supervisors.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use super::http::agent;
use super::way::{AskError, Asked, Way};
use crate::config::Exit;

/// Exits with 0 if the broker's admin server says that it is well, and with 1 otherwise
#[derive(Debug, Parser)]
#[command(name = "dunlin healthcheck", bin_name = "dunlin healthcheck", max_term_width = 100)]
pub(super) struct HealthcheckArguments {
    /// Where the admin server is
    #[arg(long, env = "DUNLIN_CTL_URL", default_value = "http://127.0.0.1:18083")]
    url: String,

    /// The path at which the admin server listens: its places there are others than those of the network. Asked instead of a URL, unless one is given on
    /// the command line
    #[arg(long, value_name = "PATH", env = "DUNLIN_CTL_SOCKET")]
    socket: Option<PathBuf>,

    /// Ask whether clients may be sent to it, not only whether it lives
    #[arg(long)]
    ready: bool,

    /// Authorities whose certificates an https URL may have, in PEM; without it those that the system trusts
    #[arg(long, value_name = "FILE", env = "DUNLIN_CTL_CAFILE")]
    cafile: Option<PathBuf>,

    /// How long it may take to answer, in seconds
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Runs it; the first argument is `healthcheck` itself.
pub(super) fn run(arguments: &[OsString]) -> Exit {
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return super::usage(&error),
    };
    match check(&arguments) {
        Ok(()) => Exit::Ok,
        Err(text) => {
            drop(writeln!(io::stderr(), "dunlin healthcheck: {text}"));
            Exit::TestFailed
        }
    }
}

/// A URL on the command line counts for more than the variable that names a path; both as flags are a mistake.
fn parse(arguments: &[OsString]) -> Result<HealthcheckArguments, clap::Error> {
    let matches = HealthcheckArguments::command().try_get_matches_from(arguments)?;
    let mut parsed = HealthcheckArguments::from_arg_matches(&matches)?;
    let is_flag = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    match (is_flag("url"), is_flag("socket")) {
        (true, true) => {
            let text = "--url and --socket cannot be used together: each says where the admin server is";
            return Err(HealthcheckArguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        (true, false) => parsed.socket = None,
        (false, _) => {}
    }
    Ok(parsed)
}

fn check(arguments: &HealthcheckArguments) -> Result<(), String> {
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let timeout = Duration::from_secs(arguments.timeout);
    let way = if let Some(socket) = &arguments.socket {
        Way::Local(socket.clone(), timeout)
    } else {
        let url = arguments.url.trim_end_matches('/').to_owned();
        Way::Http(agent(&url, arguments.cafile.as_deref(), timeout)?, url)
    };
    let name = way.name();
    let answer = way.ask(&Asked { method: "GET", path, key: None, body: None });
    let answer = answer.map_err(|error| match error {
        AskError::Denied => format!("{name}: it is for root and the broker's user alone"),
        AskError::Failed(words) => format!("{name}{path}: {words}"),
    })?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{name}{path} answers with HTTP {}", answer.status)) }
}
