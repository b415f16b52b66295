//! What is wrong with the TLS of a listener, of the admin server or of links.

use std::fmt;
use std::path::PathBuf;

use crate::config::admin::ADMIN_NAME;

/// In place of a listener's name: the settings of the cluster.
pub(super) const CLUSTER_NAME: &str = "[cluster]";

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// The listener's name.
    pub(super) listener: String,
    /// As the file of settings has it.
    pub(super) key: &'static str,
    /// Which file, and the line in it where that is known.
    pub(super) file: Option<(PathBuf, Option<usize>)>,
    /// What, and how to mend it.
    pub(super) text: String,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: ", place_name(&self.listener), self.key)?;
        match &self.file {
            Some((path, Some(line))) => write!(out, "{}:{line}: ", path.display())?,
            Some((path, None)) => write!(out, "{}: ", path.display())?,
            None => {}
        }
        out.write_str(&self.text)
    }
}

/// Where settings of a listener stand, or those of the admin server or the cluster.
pub(super) fn place_name(listener: &str) -> String {
    let is_section = matches!(listener, ADMIN_NAME | CLUSTER_NAME);
    if is_section { listener.to_owned() } else { format!("[[listener]] {listener}") }
}
