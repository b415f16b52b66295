//! `dunlin store ...`: what is done to a data directory besides serving from it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum StoreCommand {
    /// Read everything in a data directory, say what is there and whether it is whole
    ///
    /// Exit status 1: something is damaged. Nothing is changed. The broker must not be running on it.
    Check {
        /// The data directory
        directory: PathBuf,
    },
    /// Copy a data directory, while a broker uses it or while none does
    ///
    /// The copy has everything that was acknowledged before the command began. It is read back when it is complete, and what is
    /// in it is shown as by `check`: exit status 1 if something is damaged, which then was so before. To restore it, stop the
    /// broker and start one with --data-dir COPY, or move the copy to where the directory was.
    Backup {
        /// The data directory
        directory: PathBuf,
        /// Where the copy is to be: a directory that is not there yet, or is empty
        copy: PathBuf,
    },
    /// Write everything in a data directory to standard output, a JSON object a line
    ///
    /// Sessions with their subscriptions, wills and deliveries, retained messages, and what is lost. Nothing is changed. The
    /// broker must not be running on it.
    Export {
        /// The data directory
        directory: PathBuf,
    },
    /// Make a data directory of what an export wrote, or of a mosquitto.db, read from standard input
    ///
    /// The directory must be a new one. Its node and number of shards are those of the export; a broker with another
    /// number reads it all the same. What is wrong with a line ends it, and is said with the line's number. Of a
    /// mosquitto.db (Mosquitto 2, formats 5 and 6; stop Mosquitto first) come retained messages, sessions that stay, their
    /// subscriptions, and what is queued and in flight; what cannot come is said line by line on standard error.
    Import {
        /// The data directory, which is made
        directory: PathBuf,
        /// Name of the node that it is to belong to [default: that of the export; of a mosquitto.db: dunlin]
        #[arg(long, value_name = "NAME")]
        node_name: Option<String>,
    },
}

#[derive(Debug, Parser)]
#[command(
    name = "dunlin store",
    about = "Looks at a data directory, copies it, or makes one of an export",
    subcommand_required = true
)]
struct StoreArguments {
    #[command(subcommand)]
    command: StoreCommand,
}

/// Its command line.
pub(super) fn command() -> clap::Command {
    StoreArguments::command()
}

/// The command, if the arguments (the program's name first) begin with `store`.
pub(super) fn read(arguments: &[OsString]) -> Option<Result<StoreCommand, clap::Error>> {
    let [_, first, ..] = arguments else { return None };
    (first == "store").then(|| StoreArguments::try_parse_from(&arguments[1..]).map(|arguments| arguments.command))
}
