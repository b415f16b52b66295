//! Files of an operator's: how they are read, and of those that the broker may not read whose they are, and what mends it.
//!
//! Owns: the words behind "Permission denied".
//! Always holds: a command that is told opens the file to the account that asks, and to nobody outside of a group. Whoever reads is neither
//! kept waiting by what is no file, nor has more in memory than the largest file that makes sense.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::settings::UserNames;

/// Bytes of a file that an operator may give: no list of users, rules or certificates is larger.
const FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a file as text; where that is refused, the error says what mends it.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads a whole file; where that is refused, the error says what mends it.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, FILE_MAX_BYTES).map_err(|error| with_remedy(path, error))
}

fn read_at_most(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Before it is opened: a pipe is opened when somebody writes to it, be that never.
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from(ErrorKind::IsADirectory));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let text = "it has more than 64 MiB, which no such file has: is it the right one?";
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// `error`, with what mends it where it is that this process may not read `path`.
pub(crate) fn with_remedy(path: &Path, error: io::Error) -> io::Error {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    match fs::metadata(path) {
        Ok(metadata) if denied => io::Error::new(error.kind(), format!("{error}: {}", remedy(path, &metadata))),
        _ => error,
    }
}

fn remedy(path: &Path, metadata: &fs::Metadata) -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let accounts = Accounts {
        users: UserNames::of_passwd(&text("/etc/passwd")),
        // Name and number stand where they do for users.
        groups: UserNames::of_passwd(&text("/etc/group")),
    };
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.insert(0, rustix::process::getegid());
    let reader = RefusedReader {
        user: rustix::process::geteuid().as_raw(),
        groups: groups.into_iter().map(rustix::process::Gid::as_raw).collect(),
    };
    accounts.remedy(path, (metadata.uid(), metadata.gid(), metadata.mode()), &reader)
}

/// What accounts are called.
struct Accounts {
    users: UserNames,
    groups: UserNames,
}

/// Who could not read the file. The first group is its own.
struct RefusedReader {
    user: u32,
    groups: Vec<u32>,
}

impl Accounts {
    fn remedy(&self, path: &Path, (owner, group, mode): (u32, u32, u32), reader: &RefusedReader) -> String {
        let is_member = reader.groups.contains(&group);
        let shown = path.display();
        let command = match (owner == reader.user, is_member, reader.groups.first()) {
            (true, ..) if mode & 0o400 == 0 => format!("chmod u+r {shown}"),
            (false, true, _) if mode & 0o040 == 0 => format!("chmod 640 {shown}"),
            // root's group has whoever is root, who needs none.
            (false, false, Some(own)) if *own != 0 => {
                format!("chgrp {} {shown} && chmod 640 {shown}", self.groups.name_of(*own))
            }
            _ => String::new(),
        };
        let (owner, group) = (self.users.name_of(owner), self.groups.name_of(group));
        let mode = mode & 0o7777;
        let who = self.users.name_of(reader.user);
        let mends = if command.is_empty() { command } else { format!("; this mends it: {command}") };
        format!("it is {owner}:{group} with mode {mode:o}, and {who} may not read it{mends}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            users: UserNames::of_passwd("root:x:0:0::/:/bin/sh\ndunlin:x:100:101::/:/bin/false\n"),
            groups: UserNames::of_passwd("root:x:0:\ndunlin:x:101:\nssl-cert:x:107:\n"),
        }
    }

    #[test]
    fn a_command_fits_whose_file_it_is() {
        let dunlin = RefusedReader { user: 100, groups: vec![101, 107] };
        for (file, told) in [
            // What `dunlin passwd -c` and `sudo tee` under a mask of 077 leave in /etc/dunlin.
            ((0, 101, 0o100_600), "root:dunlin with mode 600, and dunlin may not read it; this mends it: chmod 640 /f"),
            (
                (0, 107, 0o100_600),
                "root:ssl-cert with mode 600, and dunlin may not read it; this mends it: chmod 640 /f",
            ),
            (
                (0, 0, 0o100_600),
                "root:root with mode 600, and dunlin may not read it; this mends it: chgrp dunlin /f && chmod 640 /f",
            ),
            (
                (7, 9, 0o100_640),
                "7:9 with mode 640, and dunlin may not read it; this mends it: chgrp dunlin /f && chmod 640 /f",
            ),
            (
                (100, 101, 0o100_200),
                "dunlin:dunlin with mode 200, and dunlin may not read it; this mends it: chmod u+r /f",
            ),
            // Its mode lets it in: something else keeps it out.
            ((0, 101, 0o100_640), "root:dunlin with mode 640, and dunlin may not read it"),
        ] {
            assert_eq!(accounts().remedy(Path::new("/f"), file, &dunlin), format!("it is {told}"));
        }
    }

    #[test]
    fn what_is_no_file_keeps_nobody_waiting_and_what_is_too_large_is_not_read() {
        let folder = std::env::temp_dir().join(format!("dunlin-unreadable-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let large = folder.join("large");
        fs::write(&large, "12345").unwrap();
        let told = |path: &Path| read_bytes(path).unwrap_err().to_string();
        assert_eq!(told(&pipe), "it is no regular file");
        assert_eq!(told(Path::new("/dev/zero")), "it is no regular file");
        assert_eq!(read_bytes(&folder).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read_at_most(&large, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_at_most(&large, 5).unwrap(), b"12345");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let error = read_text(Path::new("/nonexistent/file")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.to_string().contains("this mends it"), "{error}");
    }
}
