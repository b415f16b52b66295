//! The limits of the service's unit, as systemd tells them.
//!
//! Always holds: a machine without systemd, or without the unit, has none.

use std::process::{Command, Stdio};

use super::facts::MachineFacts;

/// What the unit sets, or systemd for it. `None` is what systemd does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitLimits {
    open_files: Option<u64>,
    memlock_bytes: Option<u64>,
    memory_max_bytes: Option<u64>,
}

impl UnitLimits {
    /// These count, and no more those of this process.
    pub(super) fn take_the_place_of(self, facts: &mut MachineFacts, unit: &str) {
        facts.unit = Some(unit.to_owned());
        facts.open_files = self.open_files.unwrap_or(facts.open_files);
        facts.memlock_bytes = self.memlock_bytes.unwrap_or(facts.memlock_bytes);
        // The one that this shell may have as root is not the service's.
        facts.may_lock = false;
        facts.memory_max_bytes = self.memory_max_bytes.filter(|bytes| *bytes != u64::MAX);
    }
}

/// Those of a unit; none where systemd does not run, or has no such unit.
pub(super) fn limits(unit: &str) -> Option<UnitLimits> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--property=LoadState,LimitNOFILE,LimitMEMLOCK,MemoryMax", "--", unit]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    read(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success())
}

/// Reads lines like `LimitNOFILE=1048576`.
fn read(text: &str) -> Option<UnitLimits> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| match value(name)? {
        "infinity" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    (value("LoadState")? == "loaded").then(|| UnitLimits {
        open_files: number("LimitNOFILE"),
        memlock_bytes: number("LimitMEMLOCK"),
        memory_max_bytes: number("MemoryMax"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_loaded_has_limits_and_another_has_none() {
        let text = "LoadState=loaded\nLimitNOFILE=1048576\nLimitMEMLOCK=67108864\nMemoryMax=infinity\n";
        let limits = read(text).unwrap();
        let (open_files, memlock_bytes) = (Some(1_048_576), Some(64 << 20));
        assert_eq!(limits, UnitLimits { open_files, memlock_bytes, memory_max_bytes: Some(u64::MAX) });
        let mut facts =
            MachineFacts { open_files: 1_024, may_lock: true, memory_max_bytes: Some(1), ..MachineFacts::default() };
        limits.take_the_place_of(&mut facts, "dunlin.service");
        assert_eq!((facts.open_files, facts.memlock_bytes, facts.may_lock), (1_048_576, 64 << 20, false));
        assert_eq!((facts.unit.as_deref(), facts.memory_max_bytes), (Some("dunlin.service"), None));
        for none in ["LoadState=not-found\nLimitNOFILE=524288\n", "", "LimitNOFILE=1\n"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(read("LoadState=loaded\nLimitNOFILE=many\n"), Some(UnitLimits::default()));
    }
}
