//! A disk of a few MB of a test's own: ext4 in a file, mounted where nobody else sees it.
//!
//! A test runs itself once more in a mount namespace, in which it makes its disk; both end with it, however it ends. That takes root
//! and `unshare`, `mkfs.ext4` and `mount` (util-linux, e2fsprogs). Where one of them is missing the test says so, and what is left to others on
//! the disk that is there (`--free-space-min`) stands in for a full one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::statvfs;

/// Set for the test that runs in a namespace of its own.
const INSIDE: &str = "DUNLIN_SMALL_DISK";

/// What a data directory lies on.
pub(crate) enum SmallDisk {
    /// A file system of its own.
    Mounted,
    /// The one of all, of which so much has to stay free.
    Shared { free_space_min: String },
}

/// Runs a test on a disk of so many bytes, mounted at `path`: in a namespace of its own, where that is possible.
pub(crate) fn on_small_disk(name: &str, path: &Path, bytes: u64, test: impl FnOnce(&SmallDisk)) {
    let mut test = Some(test);
    let on_its_own = || {
        let _mounted = Mounted::new(path, bytes);
        (test.take().expect("it runs once"))(&SmallDisk::Mounted);
    };
    if !in_own_mounts(name, on_its_own) {
        left_out(&format!(
            "no mount namespace (not root?): {name} runs on the disk that is there, with --free-space-min"
        ));
        let found = statvfs(std::env::temp_dir().as_path()).expect("a file system");
        let free = found.f_bavail * found.f_frsize;
        let free_space_min = format!("{}KiB", free.saturating_sub(bytes / 2) / 1024);
        (test.take().expect("it has not run"))(&SmallDisk::Shared { free_space_min });
    }
}

/// Runs a test once more as a process in a mount namespace, and there runs it. `false`: this system does not allow that.
pub(crate) fn in_own_mounts(name: &str, test: impl FnOnce()) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        test();
        return true;
    }
    match Command::new("unshare").args(["--mount", "--propagation", "private", "true"]).status() {
        Ok(status) if status.success() && has("mkfs.ext4") => {
            let own = std::env::current_exe().expect("the test's own binary");
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private"]).arg(own).args(["--exact", name, "--nocapture"]);
            let output = command.env(INSIDE, "1").output().expect("unshare has just run");
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert!(output.status.success() && text[0].contains("1 passed"), "{}\n{}", text[0], text[1]);
            print!("{}", text[0]);
            true
        }
        _ => false,
    }
}

/// Says what this machine cannot show, where it is seen even of a test that passes: what macros print is not.
pub(crate) fn left_out(text: &str) {
    let _ = writeln!(std::io::stderr(), "left out: {text}");
}

fn has(program: &str) -> bool {
    Command::new(program).arg("-V").output().is_ok()
}

fn image(path: &Path) -> PathBuf {
    path.with_extension("image")
}

/// A disk that is there, until this goes: then its folder can be removed.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, bytes: u64) -> Self {
        mount(path, bytes);
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(path: &Path, bytes: u64) {
    fs::create_dir_all(path).expect("a folder to mount at");
    let image = image(path);
    fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image");
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
    run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&image).arg(path));
    // Its name goes now, its bytes go with the namespace.
    fs::remove_file(&image).expect("it was made above");
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("a program of util-linux or e2fsprogs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
