//! `dunlin import`: settings of another broker as dunlin's, and what of them has no counterpart.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::config::mosquitto::{self, ConfSources, ImportedConf, shown};
use crate::config::{self, ConfigError, Exit, Invocation, System};
use crate::limits::IMPORT_CONF_MAX_BYTES;

/// Makes dunlin's settings of a mosquitto.conf
///
/// The TOML goes to standard output, and each line that has no counterpart here, or is not quite the same, to standard error: file
/// and line, option, why, and what to do instead. Files that it names (passwords, access rules, certificates) stay where they are:
/// dunlin reads Mosquitto's. Sessions and retained messages come over by `dunlin store import DIR < mosquitto.db`;
/// docs/MOVING-FROM-MOSQUITTO.md goes through both. Exit status 1: the file cannot be read, or with --check: what comes out cannot
/// be used.
#[derive(Debug, Parser)]
#[command(name = "dunlin import", bin_name = "dunlin import", max_term_width = 100)]
pub(super) struct ImportArguments {
    /// The mosquitto.conf
    file: PathBuf,

    /// Write the settings to this file, which is not there yet
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Load the result as the broker would, and say what is wrong with it
    #[arg(long)]
    check: bool,
}

/// Runs it; the first argument is `import` itself.
pub(super) fn run(arguments: &[OsString]) -> Exit {
    let arguments = match ImportArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return super::usage(&error),
    };
    match import(&arguments) {
        Ok(exit) => exit,
        Err(text) => {
            tell(&text);
            Exit::TestFailed
        }
    }
}

fn tell(text: &str) {
    drop(writeln!(io::stderr(), "dunlin import: {}", shown(text)));
}

fn import(arguments: &ImportArguments) -> Result<Exit, String> {
    let file = &arguments.file;
    // All of them together have one bound.
    let left = Cell::new(IMPORT_CONF_MAX_BYTES);
    let read_file = |path: &Path| read_bounded(path, &left);
    let sources = ConfSources { read_file: &read_file, files_of: &files_of, address_of: &address_of };
    let imported = mosquitto::import(file, &sources).map_err(|error| unreadable(file, &error))?;
    write(arguments.output.as_deref(), &imported)?;
    let mut errors = io::stderr().lock();
    for note in &imported.notes {
        // A terminal that has gone is told nothing.
        let _ = writeln!(errors, "{note}");
    }
    let count = imported.notes.len();
    let _ = match count {
        0 => writeln!(errors, "dunlin import: all of it is taken over"),
        _ => writeln!(errors, "dunlin import: look at {count} remark{}", if count == 1 { "" } else { "s" }),
    };
    drop(errors);
    if !arguments.check {
        return Ok(Exit::Ok);
    }
    let problems = check(arguments.output.as_deref(), &imported.toml);
    for problem in &problems {
        tell(problem);
    }
    let verdict = if problems.is_empty() { "the result is usable" } else { "the result is NOT usable as it stands" };
    tell(verdict);
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::TestFailed })
}

/// Opens a regular file. Devices, pipes and sockets are refused, and none of them is waited for.
fn open(path: &Path) -> io::Result<fs::File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("this is no regular file")) }
}

/// Reads a file of text, and takes its length off what is `left`.
fn read_bounded(path: &Path, left: &Cell<u64>) -> io::Result<String> {
    let mut bytes = Vec::new();
    // A file may grow while it is read.
    open(path)?.take(left.get() + 1).read_to_end(&mut bytes)?;
    let Some(rest) = left.get().checked_sub(bytes.len() as u64) else {
        let text = format!("a mosquitto.conf and what it includes may have {IMPORT_CONF_MAX_BYTES} bytes together");
        return Err(io::Error::other(text));
    };
    left.set(rest);
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "this is no text in UTF-8"))
}

/// What beside the file's own fault may be meant.
fn unreadable(file: &Path, error: &io::Error) -> String {
    const BEGINNING: &[u8] = b"\x00\xB5\x00mosquitto db";
    let mut bytes = [0; BEGINNING.len()];
    let is_database = open(file).and_then(|mut file| file.read_exact(&mut bytes)).is_ok() && bytes == BEGINNING;
    let path = file.display();
    if is_database {
        return format!(
            "{path}: this is no mosquitto.conf but what Mosquitto has kept: dunlin store import DIR < {path}"
        );
    }
    format!("{path}: {error}")
}

fn write(output: Option<&Path>, imported: &ImportedConf) -> Result<(), String> {
    let Some(path) = output else {
        return match io::stdout().write_all(imported.toml.as_bytes()) {
            // A pager that was closed early is no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
            _ => Ok(()),
        };
    };
    let written = fs::File::create_new(path).and_then(|mut file| file.write_all(imported.toml.as_bytes()));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// What is wrong with the result, as the broker would say it.
fn check(output: Option<&Path>, toml: &str) -> Vec<String> {
    let path = output.unwrap_or(Path::new("dunlin.toml"));
    let read_file = |asked: &Path| if asked == path { Ok(toml.to_owned()) } else { io::read_to_string(open(asked)?) };
    let system = System { machine: System::detect().machine, read_file: &read_file };
    let arguments = [OsString::from("dunlin"), "-c".into(), path.into()];
    match config::load_on(&system, arguments, []) {
        Ok(Invocation::Run(config)) => {
            let unreadable = |path: PathBuf| {
                let error = open(&path).err()?;
                Some(format!("{}: {error}", path.display()))
            };
            config.warnings.iter().for_each(|warning| tell(&format!("warning: {warning}")));
            config.files().into_iter().filter_map(unreadable).collect()
        }
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => vec![format!("{other:?}")],
    }
}

fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn address_of(host: &str) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = (host, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first()).copied()
}
