//! `dunlin passwd`: users and passwords of a file, with the flags of `mosquitto_passwd`.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Parser;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::auth::admin_users::{
    AdminSecret, AdminUsers, AdminUsersError, Role, api_key, delete_admin_user, is_name, set_admin_user,
};
use crate::auth::password::{SALT_BYTES, Scheme, StoredPassword, delete_user, hash_plain_file, set_user};
use crate::auth::scram::{delete_scram_user, set_scram_user};
use crate::config::Exit;

/// Adds, changes and deletes users of a password file.
///
/// The file is in Mosquitto's format, and what this writes Mosquitto 2.1 reads as well (2.0 with -H sha512-pbkdf2). A running
/// broker reads it again at SIGHUP.
#[derive(Debug, Parser)]
#[command(name = "dunlin passwd", bin_name = "dunlin passwd", max_term_width = 100)]
pub(super) struct PasswdArguments {
    /// Begin a new file; one that is there is overwritten
    #[arg(short, conflicts_with_all = ["delete", "update"])]
    create: bool,

    /// Take the password from the command line, where every user of this machine can see it
    #[arg(short, conflicts_with_all = ["delete", "update"], requires = "password")]
    batch: bool,

    /// Delete the user
    #[arg(short = 'D', conflicts_with = "update")]
    delete: bool,

    /// Hash the passwords of a file that holds plain ones
    #[arg(short = 'U', conflicts_with_all = ["user", "password"])]
    update: bool,

    /// For SCRAM: a file of its own, with a line for SCRAM-SHA-256 and one for SCRAM-SHA-512 of each user
    #[arg(long, conflicts_with_all = ["update", "scheme"])]
    scram: bool,

    /// For the admin server: a file of its own, with a role for each name
    #[arg(long, conflicts_with_all = ["update", "scheme", "scram"])]
    admin: bool,

    /// With --admin: what somebody may do, look (viewer) or change things as well (operator); without it, as before, and viewer for somebody new
    #[arg(long, value_name = "ROLE", requires = "admin", value_parser = role)]
    role: Option<Role>,

    /// With --admin: an API key for a program instead of a password; it is made and shown once
    #[arg(long, requires = "admin", conflicts_with_all = ["delete", "batch"])]
    api_key: bool,

    /// How to hash: argon2id, sha512-pbkdf2 (for Mosquitto 2.0) or sha512 (for 1.6)
    #[arg(short = 'H', value_name = "SCHEME", default_value = "argon2id", value_parser = scheme)]
    scheme: Scheme,

    /// The password file
    file: PathBuf,

    /// The user name
    #[arg(required_unless_present = "update")]
    user: Option<String>,

    /// The password, with -b; otherwise it is asked for, or read from standard input
    #[arg(requires = "batch")]
    password: Option<String>,
}

fn scheme(text: &str) -> Result<Scheme, String> {
    let known = Scheme::ALL.into_iter().find(|(name, _)| *name == text);
    known.map(|(_, scheme)| scheme).ok_or_else(|| format!("there is {}", Scheme::ALL.map(|(name, _)| name).join(", ")))
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "there is viewer and operator".to_owned())
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum PasswdError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {error}; -c begins a new file", path.display())]
    NoFile { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Edit { path: PathBuf, error: crate::auth::password::EditError },
    #[error("{}: {user:?} cannot be a user name, or nobody is called so", path.display())]
    ScramUser { path: PathBuf, user: String },
    #[error("{}: {user:?} cannot be a name (letters, digits and . - _ @), or nobody is called so", path.display())]
    AdminUser { path: PathBuf, user: String },
    #[error("{}: {error}", path.display())]
    Admin { path: PathBuf, error: AdminUsersError },
    #[error("{}: {user:?} is the last one, and a broker refuses a file that names nobody: add somebody else first", path.display())]
    LastAdmin { path: PathBuf, user: String },
    #[error("{}: these are users of the admin server: say --admin", .0.display())]
    OfAdmin(PathBuf),
    #[error("the key is in the file and cannot be shown: {0}; make another")]
    KeyNotShown(io::Error),
    #[error("the password cannot be read: {0}")]
    Terminal(io::Error),
    #[error("the two passwords differ")]
    Differ,
    #[error("an empty password is none")]
    EmptyPassword,
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// Runs it; the first argument is `passwd` itself.
pub(super) fn run(arguments: &[OsString]) -> Exit {
    let arguments = match PasswdArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return super::usage(&error),
    };
    match edit(&arguments) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            drop(writeln!(io::stderr(), "dunlin passwd: {error}"));
            Exit::TestFailed
        }
    }
}

fn edit(arguments: &PasswdArguments) -> Result<(), PasswdError> {
    let path = &arguments.file;
    let text = if arguments.create { String::new() } else { read(path)? };
    let edit_error = |error| PasswdError::Edit { path: path.clone(), error };
    let user = arguments.user.as_deref().unwrap_or_default();
    if !arguments.admin && AdminUsers::parse(&text).is_ok() {
        return Err(PasswdError::OfAdmin(path.clone()));
    }
    let mut api_key = None;
    let edited = if arguments.admin {
        edit_admin(arguments, &text, user, &mut api_key)?
    } else if arguments.scram {
        edit_scram(arguments, &text, user)?
    } else if arguments.update {
        // Each hash has a salt of its own; that one could not be had is said afterwards.
        let mut salt_error = Ok(());
        let (edited, _) = hash_plain_file(&text, |password| {
            let salt = random_salt().unwrap_or_else(|error| {
                salt_error = Err(error);
                [0; SALT_BYTES]
            });
            StoredPassword::new(arguments.scheme, password.as_bytes(), salt)
        })
        .map_err(edit_error)?;
        salt_error?;
        edited
    } else if arguments.delete {
        delete_user(&text, user).map_err(edit_error)?
    } else {
        let password = new_password(arguments)?;
        let stored = StoredPassword::new(arguments.scheme, password.as_bytes(), random_salt()?);
        set_user(&text, user, &stored).map_err(edit_error)?
    };
    replace(path, &edited).map_err(|error| PasswdError::File { path: path.clone(), error })?;
    match api_key {
        Some(key) => writeln!(io::stdout(), "{key}").map_err(PasswdError::KeyNotShown),
        None => Ok(()),
    }
}

fn new_password(arguments: &PasswdArguments) -> Result<String, PasswdError> {
    let password = match &arguments.password {
        Some(password) => password.clone(),
        None => ask_password()?,
    };
    if password.is_empty() { Err(PasswdError::EmptyPassword) } else { Ok(password) }
}

/// The same edits in a file for SCRAM.
fn edit_scram(arguments: &PasswdArguments, text: &str, user: &str) -> Result<String, PasswdError> {
    let no_user = || PasswdError::ScramUser { path: arguments.file.clone(), user: user.to_owned() };
    if arguments.delete {
        return delete_scram_user(text, user).ok_or_else(no_user);
    }
    let password = new_password(arguments)?;
    let mut error = Ok(());
    let edited = set_scram_user(text, user, &password, || {
        let mut bytes = [0; 32];
        for half in bytes.chunks_exact_mut(SALT_BYTES) {
            match random_salt() {
                Ok(salt) => half.copy_from_slice(&salt),
                Err(failed) => error = Err(failed),
            }
        }
        bytes
    });
    error?;
    edited.ok_or_else(no_user)
}

/// The same edits in a file of those who may use the admin server.
fn edit_admin(
    arguments: &PasswdArguments,
    text: &str,
    user: &str,
    shown_key: &mut Option<String>,
) -> Result<String, PasswdError> {
    let path = || arguments.file.clone();
    let known = match AdminUsers::parse(text) {
        Ok(users) => Some(users),
        Err(AdminUsersError::Empty) => None,
        Err(error) => return Err(PasswdError::Admin { path: path(), error }),
    };
    let no_user = || PasswdError::AdminUser { path: arguments.file.clone(), user: user.to_owned() };
    if arguments.delete {
        let edited = delete_admin_user(text, user).ok_or_else(no_user)?;
        if AdminUsers::parse(&edited).is_err() {
            return Err(PasswdError::LastAdmin { path: path(), user: user.to_owned() });
        }
        return Ok(edited);
    }
    if !is_name(user) {
        return Err(no_user());
    }
    let secret = if arguments.api_key {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| PasswdError::NoRandom)?;
        let key = api_key(random);
        *shown_key = Some(key.clone());
        AdminSecret::Key(key)
    } else {
        let password = new_password(arguments)?;
        AdminSecret::Password(StoredPassword::new(arguments.scheme, password.as_bytes(), random_salt()?))
    };
    let written = known.as_ref().and_then(|users| users.written_role(user));
    Ok(set_admin_user(text, user, arguments.role.or(written).unwrap_or(Role::Viewer), &secret))
}

fn read(path: &Path) -> Result<String, PasswdError> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PasswdError::NoFile { path: path.into(), error },
        _ => PasswdError::File { path: path.into(), error },
    })
}

fn random_salt() -> Result<[u8; SALT_BYTES], PasswdError> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswdError::NoRandom)?;
    Ok(salt)
}

/// Writes a file beside it and puts that in its place: a broker that reads meanwhile sees one or the other. Mode and owner of
/// the old one stay; a new one is its owner's alone, or its group's, too, where the directory says so.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is what is meant.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    let written = write_new(&path, &new, text).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(old: &Path, new: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    if let Ok(metadata) = fs::metadata(old) {
        file.set_permissions(fs::Permissions::from_mode(metadata.permissions().mode() & 0o7777))?;
        // Only root may give a file away; for others it is theirs already.
        let _ = std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()));
    } else if is_for_a_group(new)? {
        file.set_permissions(fs::Permissions::from_mode(0o640))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether its directory gives its files a group, so that the group may read them: as /etc/dunlin has that of the broker. root's
/// group is nobody's.
fn is_for_a_group(path: &Path) -> io::Result<bool> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::metadata(directory)?;
    Ok(directory.mode() & 0o2000 != 0 && directory.gid() != 0)
}

/// Asks twice on a terminal, without showing what is typed; reads a line where there is none.
fn ask_password() -> Result<String, PasswdError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(PasswdError::Terminal)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let shown = tcgetattr(&stdin).map_err(|error| PasswdError::Terminal(error.into()))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| PasswdError::Terminal(error.into()))?;
    let ask = |prompt: &str| {
        let mut line = String::new();
        let mut out = io::stderr();
        write!(out, "{prompt}: ").and_then(|()| out.flush())?;
        stdin.lock().read_line(&mut line).map(|_| line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let answers = ask("Password").and_then(|first| Ok((first, ask("Again")?)));
    // Whatever came, the terminal is the user's again.
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &shown);
    let (first, second) = answers.map_err(PasswdError::Terminal)?;
    if first == second { Ok(first) } else { Err(PasswdError::Differ) }
}
