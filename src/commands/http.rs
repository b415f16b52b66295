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

/// Why nobody could be asked. Where a certificate is at fault, what to do about it.
pub(super) fn told(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let hint = if text.contains("CaUsedAsEndEntity") {
        "the server's certificate is one of an authority (CA:TRUE), and no server's: have the authority sign another one for the server, or make \
         one that is its own with CA:FALSE: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout admin.key -out \
         admin.pem -days 365 -subj /CN=dunlin -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    } else if text.contains("UnknownIssuer") {
        "the server's certificate comes from none of the authorities: --cafile names a file with the right one"
    } else if text.contains("not valid for name") {
        "the server's certificate is for other names than that in --url (DUNLIN_CTL_URL)"
    } else {
        return text;
    };
    format!("{text}: {hint}")
}
