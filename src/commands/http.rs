//! Whom commands trust that ask an admin server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use crate::http::{self, SYSTEM_AUTHORITIES};

/// Whoever asks: at `url`, whose certificate (where it is https) must come from the authorities in `ca_file`, or from those that the
/// system trusts.
pub(super) fn agent(url: &str, ca_file: Option<&Path>, timeout: Duration) -> Result<Agent, String> {
    if !url.starts_with("https:") {
        return Ok(http::agent(&[], timeout, 1));
    }
    let system = || SYSTEM_AUTHORITIES.into_iter().map(PathBuf::from).find(|path| path.exists());
    let path = ca_file.map(Path::to_owned).or_else(system);
    let path = path.ok_or("this system has no list of authorities: give --cafile")?;
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read(&path).map_err(|error| wrong(&error))?;
    let authorities = http::authorities(&text).map_err(|error| wrong(&error))?;
    Ok(http::agent(&authorities, timeout, 1))
}
