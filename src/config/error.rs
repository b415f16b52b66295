//! What can be wrong with a configuration, where it was said, and the process's exit statuses.
//!
//! Always holds: a problem names its place (flag, variable, or file and line), so that it can be mended without a
//! search; all problems of one start are told at once.

use std::{fmt, path::PathBuf, process::ExitCode};

use super::process::LogFormat;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: the default.
    Default,
    /// In the configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line, from 1; 0 where the file as a whole is meant.
        line: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// By a flag, spelled as here.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => path.display().fmt(f),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub source: Source,
    /// What, and what would be right.
    pub text: String,
}

impl Problem {
    pub(super) fn new(source: &Source, text: impl Into<String>) -> Self {
        Self { source: source.clone(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.text)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be understood.
    #[error("{error}")]
    Usage {
        /// Prints itself, in colour on a terminal.
        error: clap::Error,
        /// As in [`Self::Invalid`].
        format: LogFormat,
    },
    /// The file, a variable or a flag holds something that cannot be.
    #[error("{}", Lines(.problems))]
    Invalid {
        /// Everything that is wrong, at least one thing.
        problems: Vec<Problem>,
        /// Whether this is the verdict of `--test-config`.
        tested: bool,
        /// The shape that lines are to have, as far as that could be read.
        format: LogFormat,
    },
}

/// Problems as lines of standard error.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.0 {
            writeln!(f, "dunlin: {problem}")?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// The status the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Invalid { tested: true, .. } => Exit::TestFailed,
            Self::Invalid { tested: false, .. } => Exit::Config,
        }
    }
}

/// Exit statuses. Service managers tell by them whether another start can help: 2 and 78 need a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It stopped because it was told to, or did what it was asked.
    Ok = 0,
    /// `--test-config` found something wrong, or a command could not do what was asked.
    TestFailed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Kernel, limits or permissions do not suffice (`EX_OSERR`).
    Environment = 71,
    /// An address is in use (`EX_TEMPFAIL`).
    AddressInUse = 75,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

impl Exit {
    /// Every status with its meaning, for `--help` and the documentation.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Ok, "stopped by a signal, or did what was asked"),
        (Self::TestFailed, "--test-config found something wrong, or a command could not do what was asked"),
        (Self::Usage, "the command line cannot be understood"),
        (Self::Environment, "kernel, io_uring, limits or permissions do not suffice"),
        (Self::AddressInUse, "an address to listen on is in use"),
        (Self::Config, "a setting is wrong, in the file, a variable or a flag"),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
