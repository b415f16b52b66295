//! `dunlin completions` and `dunlin man`: made of the command lines themselves, so that they are never behind them.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Command, CommandFactory, Parser};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{DeclaredCommand, acl, ctl, healthcheck, import, passwd, usage};
use crate::config::{self, Exit};

/// Prints what a shell needs to complete dunlin's command line
///
/// bash: dunlin completions bash > /usr/share/bash-completion/completions/dunlin. zsh: a file _dunlin in a directory of $fpath. fish:
/// ~/.config/fish/completions/dunlin.fish.
#[derive(Debug, Parser)]
#[command(name = "dunlin completions", bin_name = "dunlin completions", max_term_width = 100)]
struct CompletionsArguments {
    /// bash, zsh or fish
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["bash", "zsh", "fish"]))]
    shell: String,
}

/// Prints dunlin's manual page, or that of one of its commands
#[derive(Debug, Parser)]
#[command(name = "dunlin man", bin_name = "dunlin man", max_term_width = 100)]
struct ManArguments {
    /// The command, such as passwd, or store check; the broker itself without one
    #[arg(conflicts_with = "directory")]
    command: Vec<String>,

    /// Write all pages to this directory: dunlin.1, dunlin-passwd.1 and so on
    #[arg(long = "dir", value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs it; the first argument is `completions` itself.
pub(super) fn completions(arguments: &[OsString], others: &[DeclaredCommand]) -> Exit {
    let arguments = match CompletionsArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let shell = match arguments.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut whole(others), "dunlin", &mut text);
    printed(&text)
}

/// Runs it; the first argument is `man` itself.
pub(super) fn man(arguments: &[OsString], others: &[DeclaredCommand]) -> Exit {
    let arguments = match ManArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let mut whole = whole(others);
    whole.build();
    if let Some(directory) = &arguments.directory {
        let broker = directory.join("dunlin.1");
        let written = page(&whole).and_then(|page| {
            clap_mangen::generate_to(whole, directory)?;
            std::fs::write(broker, page)
        });
        return match written {
            Ok(()) => Exit::Ok,
            Err(error) => failed(&format!("{}: {error}", directory.display())),
        };
    }
    let mut command = &whole;
    for name in &arguments.command {
        match command.find_subcommand(name) {
            Some(found) => command = found,
            None => return failed(&format!("there is no command {name:?}")),
        }
    }
    match page(command) {
        Ok(text) => printed(&text),
        Err(error) => failed(&error.to_string()),
    }
}

/// The page of a command. The broker's own has a hundred options, which are no synopsis.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let man = Man::new(command.clone());
    if command.get_name() != "dunlin" {
        man.render(&mut text)?;
        return Ok(text);
    }
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    text.extend(b".SH SYNOPSIS\n\\fBdunlin\\fR [\\fIOPTIONS\\fR]\n.br\n\\fBdunlin\\fR \\fICOMMAND\\fR ...\n");
    man.render_description_section(&mut text)?;
    man.render_subcommands_section(&mut text)?;
    man.render_options_section(&mut text)?;
    man.render_extra_section(&mut text)?;
    man.render_version_section(&mut text)?;
    Ok(text)
}

/// The broker's command line with all commands below it.
fn whole(others: &[DeclaredCommand]) -> Command {
    let own: [DeclaredCommand; 7] = [
        acl::AclArguments::command,
        CompletionsArguments::command,
        ctl::CtlArguments::command,
        healthcheck::HealthcheckArguments::command,
        import::ImportArguments::command,
        ManArguments::command,
        passwd::PasswdArguments::command,
    ];
    let commands = own.iter().chain(others).map(|declared| declared()).chain([config::store_command()]);
    let below = commands.map(|command| {
        // They are called with the program's name before theirs.
        let name = command.get_name().trim_start_matches("dunlin ").to_owned();
        command.name(name)
    });
    let mut below: Vec<Command> = below.collect();
    below.sort_by(|one, other| one.get_name().cmp(other.get_name()));
    config::command_line().subcommands(below)
}

fn printed(text: &[u8]) -> Exit {
    match io::stdout().write_all(text) {
        // A pager that was closed early is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&format!("standard output: {error}")),
        _ => Exit::Ok,
    }
}

fn failed(text: &str) -> Exit {
    drop(writeln!(io::stderr(), "dunlin: {text}"));
    Exit::TestFailed
}
