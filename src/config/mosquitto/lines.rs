//! The lines of a mosquitto.conf, and of the files that it includes.
//!
//! Always holds: each line knows its file and number, and stands where Mosquitto would read it. Nothing is asked of the machine but by
//! [`ConfSources`].

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::ImportNote;

/// What reading a mosquitto.conf asks of the machine; injected so that tests need neither files nor names.
pub struct ConfSources<'a> {
    /// Reads a file as text.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The files in a directory.
    pub files_of: &'a dyn Fn(&Path) -> io::Result<Vec<PathBuf>>,
    /// An address of a host.
    pub address_of: &'a dyn Fn(&str) -> Option<IpAddr>,
}

impl std::fmt::Debug for ConfSources<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ConfSources").finish_non_exhaustive()
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfPlace {
    /// As it was named.
    pub file: Rc<Path>,
    /// From 1.
    pub line: usize,
}

impl std::fmt::Display for ConfPlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.file.display(), self.line)
    }
}

/// An option with its value.
#[derive(Clone, Debug)]
pub(super) struct ConfLine {
    pub(super) place: ConfPlace,
    pub(super) option: String,
    /// Without blanks around it; empty where there is none.
    pub(super) value: String,
}

impl ConfLine {
    /// The first word of the value, which is all that Mosquitto reads of numbers and switches.
    pub(super) fn word(&self) -> &str {
        self.value.split(' ').next().unwrap_or_default()
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.word(), "true" | "1")
    }

    /// Whether its value is one that a switch may have.
    pub(super) fn is_switch(&self) -> bool {
        matches!(self.word(), "true" | "1" | "false" | "0")
    }

    pub(super) fn note(&self, text: impl Into<String>) -> ImportNote {
        ImportNote { place: self.place.clone(), option: self.option.clone(), text: text.into() }
    }
}

/// Reads a file and what it includes. A file that it includes and that cannot be read is a note.
pub(super) fn read(
    path: &Path,
    sources: &ConfSources<'_>,
    notes: &mut Vec<ImportNote>,
) -> Result<Vec<ConfLine>, io::Error> {
    let mut all = Vec::new();
    for line in lines_of(path, &(sources.read_file)(path)?) {
        if line.option != "include_dir" {
            all.push(line);
            continue;
        }
        match included(&line, sources, notes) {
            Ok(mut lines) => all.append(&mut lines),
            Err(error) => notes.push(line.note(format!("{}: {error}; its files are left out", line.value))),
        }
    }
    Ok(all)
}

fn included(
    line: &ConfLine,
    sources: &ConfSources<'_>,
    notes: &mut Vec<ImportNote>,
) -> Result<Vec<ConfLine>, io::Error> {
    let mut files = (sources.files_of)(Path::new(&line.value))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    // Mosquitto's order: without regard to case, capitals first where that is all the difference.
    files.sort_by_cached_key(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name.to_lowercase(), name)
    });
    let mut all = Vec::new();
    for file in files {
        match (sources.read_file)(&file) {
            Ok(text) => all.append(&mut lines_of(&file, &text)),
            Err(error) => notes.push(line.note(format!("{}: {error}; it is left out", file.display()))),
        }
    }
    Ok(all)
}

fn lines_of(path: &Path, text: &str) -> Vec<ConfLine> {
    let file: Rc<Path> = path.into();
    let lines = (1..).zip(text.lines()).filter_map(|(line, text)| {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (option, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let place = ConfPlace { file: Rc::clone(&file), line };
        Some(ConfLine { place, option: option.to_owned(), value: value.trim().to_owned() })
    });
    lines.collect()
}

/// What is said of a number that there is not here, and another stands in its place.
pub(super) fn beyond(asked: u64, nearest: u64) -> String {
    let word = if asked > nearest { "more" } else { "less" };
    format!("{asked} is {word} than there is here: it is {nearest}")
}
