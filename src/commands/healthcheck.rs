//! `dunlin healthcheck`: whether a broker lives, for containers and supervisors.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use super::http::{agent, told};
use crate::config::Exit;
use clap::Parser;

/// Exits with 0 if the broker's admin server says that it is well, and with 1 otherwise
#[derive(Debug, Parser)]
#[command(name = "dunlin healthcheck", bin_name = "dunlin healthcheck", max_term_width = 100)]
pub(super) struct HealthcheckArguments {
    /// Where the admin server is
    #[arg(long, env = "DUNLIN_CTL_URL", default_value = "http://127.0.0.1:18083")]
    url: String,

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
    let arguments = match HealthcheckArguments::try_parse_from(arguments) {
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

fn check(arguments: &HealthcheckArguments) -> Result<(), String> {
    let url = format!("{}/{}", arguments.url.trim_end_matches('/'), if arguments.ready { "readyz" } else { "healthz" });
    let timeout = Duration::from_secs(arguments.timeout);
    let agent = agent(&url, arguments.cafile.as_deref(), timeout)?;
    let answer = agent.get(&url).call().map_err(|error| format!("{url}: {}", told(&error)))?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("{url} answers with HTTP {status}")),
    }
}
