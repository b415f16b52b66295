//! This program under callgrind: one process for all cases, whose counts are written before and after each of them.

use crate::cases::CASES;
use std::path::PathBuf;
use std::process::Command;

/// What tells the program that it runs under callgrind.
pub(super) const INSIDE: &str = "--inside";

/// Runs every case: once to warm up, once to be counted.
pub(super) fn run_all() {
    for case in &CASES {
        let mut work = (case.ready)();
        work();
        mark_for_callgrind();
        work();
        mark_for_callgrind();
    }
}

/// Callgrind knows this function by its name: whenever it is entered, the count so far is written and begins anew.
#[inline(never)]
fn mark_for_callgrind() {
    std::hint::black_box(());
}

/// Instructions of one run of each case.
pub(super) fn count() -> Result<Vec<u64>, String> {
    let folder = Folder::new()?;
    let binary = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-before=*mark_for_callgrind*"])
        .arg(format!("--callgrind-out-file={}", folder.0.join("out").display()))
        .arg(binary)
        .arg(INSIDE)
        .output()
        .map_err(|error| format!("valgrind does not start ({error}); install it: apt-get install valgrind"))?;
    if !output.status.success() {
        return Err(format!("valgrind failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    (1..=CASES.len()).map(|number| folder.total(number)).collect()
}

/// Where the counts are written; goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("dunlin-count-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// The count of the case that ran as the `number`th. Between two of them stands what made the next one ready.
    fn total(&self, number: usize) -> Result<u64, String> {
        let path = self.0.join(format!("out.{}", 2 * number));
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        total.filter(|&total| total > 0).ok_or_else(|| format!("{} counts nothing", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
