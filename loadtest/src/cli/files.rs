//! The reports that a run is to leave behind.

use std::path::PathBuf;

/// Where reports go; `-` is standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The outcome.
    pub json: Option<PathBuf>,
    /// The series.
    pub csv: Option<PathBuf>,
    /// The distributions.
    pub hdr: Option<PathBuf>,
    /// The page.
    pub html: Option<PathBuf>,
}
