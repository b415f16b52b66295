//! The command line. Options that are no settings stand in [`Options`]; every setting's flag follows from the table.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use std::{ffi::OsString, fmt::Write as _, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{
    error::{Exit, Source},
    foreign,
    layers::{Given, Layer, ROWS, index, with_flags},
    suggest,
    variables::FILE_VARIABLE,
};
use crate::settings::{Change, Kind, Setting};

const ABOUT: &str = "An MQTT broker for large IoT fleets (3.1, 3.1.1 and 5.0), one shard per core, sockets on io_uring";

const LONG_ABOUT: &str = "\
An MQTT broker for large IoT fleets (3.1, 3.1.1 and 5.0), one shard per core, sockets on io_uring

Without arguments it serves this machine alone, on 127.0.0.1:1883. To serve others:

    dunlin --bind 0.0.0.0 --allow-anonymous

and with passwords:

    dunlin passwd -c users ann
    dunlin --bind 0.0.0.0 --password-file users

`dunlin passwd --help` says more about users, `dunlin acl check --help`
what access rules come to, `dunlin ctl --help` how to ask a running broker,
`dunlin store --help` what is in a data directory. `dunlin doctor` looks
whether this machine carries your clients, `dunlin import` makes settings of
a mosquitto.conf, `dunlin man` and `dunlin completions` are for your shell.";

/// What is no setting.
#[derive(Debug, Parser)]
#[command(name = "dunlin", version, about = ABOUT, long_about = LONG_ABOUT, max_term_width = 100)]
struct Options {
    /// Read settings from this TOML file
    ///
    /// Without it no file is read. The variable DUNLIN_CONFIG names one as well.
    #[arg(short, long, visible_alias = "config-file", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the settings in effect as a file that --config takes, then exit
    ///
    /// A comment at each says where its value came from.
    #[arg(long)]
    print_config: bool,

    /// Check file, variables and flags, say what is wrong, then exit with 0 or 1
    #[arg(long, conflicts_with = "print_config")]
    test_config: bool,

    /// Log more: -v is --log-level debug, -vv is trace
    #[arg(short, long, action = ArgAction::Count, conflicts_with_all = ["quiet", "log-level"])]
    verbose: u8,

    /// Log errors only: --log-level error
    #[arg(short, long, conflicts_with = "log-level")]
    quiet: bool,
}

/// What the command line says.
pub(super) struct CommandLine {
    pub(super) layer: Layer,
    pub(super) file: Option<PathBuf>,
    pub(super) print_config: bool,
    pub(super) test_config: bool,
}

/// Reads the arguments, the program's name first. Help and version come back as an error, as clap has it.
pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let all = ROWS.iter().filter(|row| row.has_flag());
    let matches = command_of(all).try_get_matches_from(arguments).map_err(with_true_answer)?;
    let options = Options::from_arg_matches(&matches)?;
    let mut layer = Layer::empty();
    let mut set = |index, given| layer.set(index, given).expect("a flag is given once, clap sees to it");
    for (index, row) in ROWS.iter().enumerate().filter(|(_, row)| row.has_flag()) {
        if let Some(given) = given(row, &matches) {
            set(index, given);
        }
    }
    // clap saw to it that these never meet --log-level.
    let level = match (options.verbose, options.quiet) {
        (0, false) => None,
        (0, true) => Some(("error", "--quiet")),
        (1, _) => Some(("debug", "--verbose")),
        (_, _) => Some(("trace", "--verbose")),
    };
    if let Some((level, flag)) = level {
        set(index("log-level"), Given { texts: vec![level.to_owned()], source: Source::Flag(flag.to_owned()) });
    }
    Ok(CommandLine {
        layer,
        file: options.config,
        print_config: options.print_config,
        test_config: options.test_config,
    })
}

/// clap names the flag that looks most like an unknown one. Where another broker has that flag, this says what to do here;
/// where it looks like none of ours, it says nothing.
fn with_true_answer(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    if !flag.starts_with('-') {
        let tip =
            "a file of settings is named with --config, and the value of a switch stands behind =, as in --pin=false";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    } else if let Some(answer) = foreign::answer(flag.split('=').next().unwrap_or_default()) {
        forget_nearest(&mut error);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![answer.into()]));
    } else if let Some(ContextValue::String(nearest)) = error.get(ContextKind::SuggestedArg)
        && !suggest::is_near(&flag, nearest)
    {
        forget_nearest(&mut error);
    }
    error
}

fn forget_nearest(error: &mut clap::Error) {
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::Suggested);
    error.insert(ContextKind::Usage, ContextValue::StyledStr(command().render_usage()));
}

/// The command line as users are told of it: options, then settings under the headings of their sections.
pub(super) fn command() -> clap::Command {
    command_of(with_flags())
}

fn command_of(settings: impl Iterator<Item = &'static Setting>) -> clap::Command {
    let mut command = Options::command();
    for setting in settings {
        let section = setting.section;
        let heading = format!("{} [{}]", section.title(), section.name());
        command = command.next_help_heading(heading).arg(flag(setting));
        if let Kind::Switch { off_flag } = setting.kind {
            let negation = Arg::new(off_flag).long(off_flag).action(ArgAction::SetTrue).conflicts_with(setting.flag);
            command = command.arg(negation.help(format!("Same as --{}=false", setting.flag)));
        }
    }
    command.after_help(SHORT_ENDING).after_long_help(long_ending())
}

const SHORT_ENDING: &str = "\
Sizes take KB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024); durations s,
m, h, d or w. --help explains each setting, with its range, its key in the file
and its environment variable. `dunlin store --help`: looking at a data directory.";

fn long_ending() -> String {
    let mut text = format!(
        "\
Settings:
  A flag wins over its environment variable, that over the file, that over
  the default. In the file a setting stands under its section, the word in
  brackets above:

      [listener]
      bind = [\"0.0.0.0\", \"::1\"]

      [mqtt]
      max_packet_size = \"256KiB\"

  Listeners that differ have a [[listener]] table each; docs/dunlin.toml is
  an example of everything.

  A variable is DUNLIN_, the section, two underscores and the key, as in
  DUNLIN_MQTT__MAX_PACKET_SIZE=256KiB; {FILE_VARIABLE} names the file.
  A key or a variable that is not known is an error.

Switches:
  true, on, yes and 1, or false, off, no and 0.

Units:
  KB, MB and GB are powers of 1000 bytes, KiB, MiB and GiB powers of 1024.
  Durations are s, m, h, d or w, also together: 1h30m. A plain number is
  bytes or seconds.

Signals:
  TERM and INT stop the broker once queued packets have left; HUP reads the
  settings again; USR1 opens the log file again.

Exit status:
"
    );
    for (exit, meaning) in Exit::ALL {
        let _ = writeln!(text, "  {:>2}  {meaning}", exit as u8);
    }
    text
}

fn flag(setting: &'static Setting) -> Arg {
    let value_name = setting.value_name();
    let arg = Arg::new(setting.flag).long(setting.flag).hide(setting.is_hidden);
    let arg = arg.help(short_help(setting)).long_help(long_help(setting));
    let arg = match setting.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    let arg = match setting.also_flag {
        Some(name) => arg.visible_alias(name),
        None => arg,
    };
    let bare = |arg: Arg, word: &'static str| arg.num_args(0..=1).require_equals(true).default_missing_value(word);
    match setting.kind {
        Kind::Switch { .. } => bare(arg.value_name(value_name), "true"),
        Kind::Choice { bare: Some(word), .. } => bare(arg.value_name(value_name), word),
        Kind::Texts { .. } => arg.value_name(value_name).action(ArgAction::Append),
        Kind::Number { .. } | Kind::Choice { .. } | Kind::Text { .. } => arg.value_name(value_name),
    }
}

fn short_help(setting: &Setting) -> String {
    format!("{} [default: {}]", setting.summary(), setting.default_text())
}

fn long_help(setting: &Setting) -> String {
    let mut text = format!("{}.", setting.summary());
    for paragraph in setting.details() {
        text.push(' ');
        text.push_str(&paragraph);
    }
    let change = match setting.change {
        Change::Reload => "changes at SIGHUP",
        Change::Start => "changes at a start",
    };
    format!(
        "{text}\n\n[default: {}] [allowed: {}] [{change}]\n{} = ..., {}",
        setting.default_text(),
        setting.range_text(),
        setting.path(),
        setting.variable().unwrap_or_default()
    )
}

fn given(setting: &Setting, matches: &ArgMatches) -> Option<Given> {
    if let Kind::Switch { off_flag } = setting.kind
        && matches.get_flag(off_flag)
    {
        return Some(Given { texts: vec!["false".to_owned()], source: Source::Flag(format!("--{off_flag}")) });
    }
    if matches.value_source(setting.flag) != Some(ValueSource::CommandLine) {
        return None;
    }
    let texts = matches.get_many::<String>(setting.flag)?.cloned().collect();
    Some(Given { texts, source: Source::Flag(format!("--{}", setting.flag)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(arguments: &[&str]) -> Result<CommandLine, clap::Error> {
        read(std::iter::once("dunlin").chain(arguments.iter().copied()).map(OsString::from))
    }

    fn texts(arguments: &[&str], flag: &str) -> Option<String> {
        let read = read_all(arguments).unwrap_or_else(|error| panic!("{error}"));
        read.layer.get(index(flag)).map(|given| format!("{}: {}", given.source, given.texts.join(" ")))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_has_its_flag_with_range_key_and_variable_in_the_help() {
        let short = command().render_help().to_string();
        let long = command().term_width(0).render_long_help().to_string();
        for setting in with_flags() {
            let flag = format!("--{}", setting.flag);
            assert!(short.contains(&flag) && long.contains(&flag), "{flag}");
            let variable = setting.variable().unwrap();
            for part in [setting.path(), variable, setting.range_text(), setting.default_text()] {
                assert!(long.contains(&part), "{flag} without {part}");
            }
            assert_eq!(texts(&[&format!("{flag}=x")], setting.flag), Some(format!("{flag}: x")));
        }
        for (exit, meaning) in Exit::ALL {
            assert!(long.contains(&format!("{:>2}  {meaning}", exit as u8)), "{meaning}");
        }
    }

    #[test]
    fn flags_are_read_in_all_their_forms() {
        let table: &[(&[&str], &str, Option<&str>)] = &[
            (&[], "port", None),
            (&["-p", "1884"], "port", Some("--port: 1884")),
            (&["--port=1884"], "port", Some("--port: 1884")),
            (&["--bind", "::1", "--bind", "10.0.0.1,10.0.0.2"], "bind", Some("--bind: ::1 10.0.0.1,10.0.0.2")),
            (&["--pin"], "pin", Some("--pin: true")),
            (&["--pin=false"], "pin", Some("--pin: false")),
            (&["--no-pin"], "pin", Some("--no-pin: false")),
            (&["--allow-anonymous"], "allow-anonymous", Some("--allow-anonymous: true")),
            (&["--allow-anonymous=false"], "allow-anonymous", Some("--allow-anonymous: false")),
            (&["-v"], "log-level", Some("--verbose: debug")),
            (&["-vv"], "log-level", Some("--verbose: trace")),
            (&["-vvv"], "log-level", Some("--verbose: trace")),
            (&["-q"], "log-level", Some("--quiet: error")),
            (&["--log-level", "warn"], "log-level", Some("--log-level: warn")),
            (&["--queue-full", "oldest"], "full-queue", Some("--full-queue: oldest")),
        ];
        for (arguments, flag, expected) in table {
            assert_eq!(texts(arguments, flag).as_deref(), *expected, "{arguments:?}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        let table: &[&[&str]] = &[
            &["--prot", "1"],
            &["--port"],
            &["--port", "1", "--port", "2"],
            &["--pin", "--no-pin"],
            &["-v", "-q"],
            &["-v", "--log-level", "info"],
            &["--print-config", "--test-config"],
            &["extra"],
        ];
        for arguments in table {
            let error = read_all(arguments).err().unwrap_or_else(|| panic!("{arguments:?}"));
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn an_unknown_flag_gets_the_true_answer_or_the_one_that_was_meant() {
        let table = [
            ("--prot", "a similar argument exists: '--port'"),
            ("--max-packet-sise", "a similar argument exists: '--max-packet-size'"),
            ("--persistence", "use [store] storage"),
            ("--psk-file=/etc/psk", "use [auth] password_file, jwt_key, jwks_url or auth_http_url"),
            ("--certfile", "TLS is a matter of a listener"),
            ("-d", "dunlin stays in the foreground"),
            ("broker.toml", "a file of settings is named with --config"),
            ("--max-clients", "use [node] max_connections (--max-connections)"),
        ];
        for (flag, answer) in table {
            let told = read_all(&[flag]).err().unwrap_or_else(|| panic!("{flag}")).to_string();
            assert!(told.contains(answer) && !told.contains("--version"), "{told}");
        }
        let told = read_all(&["--colour"]).err().expect("unknown").to_string();
        assert!(told.contains("unexpected argument '--colour'") && !told.contains("tip:"), "{told}");
    }

    #[test]
    fn the_file_has_two_flags() {
        for flag in ["-c", "--config", "--config-file"] {
            assert_eq!(
                read_all(&[flag, "d.toml"]).unwrap_or_else(|error| panic!("{error}")).file,
                Some("d.toml".into())
            );
        }
    }
}
