//! `loadtest list`.

use std::fmt::Write as _;

use crate::preset;

/// The workloads by name, described.
pub fn text() -> String {
    let mut text = String::from("Workloads whose names carry their sizes (any size, K and M allowed):\n\n");
    for family in preset::families() {
        let _ =
            writeln!(text, "  {}\n      {}\n      as in {}\n", family.pattern, family.what, family.examples.join(", "));
    }
    text.push_str("Workloads that flags resize:\n\n");
    for listed in preset::fixed() {
        let flags: Vec<&str> = listed.knobs.iter().map(|knob| knob.flag()).collect();
        let _ = writeln!(text, "  {}\n      {}\n      {}\n", listed.name, listed.what, flags.join(" "));
    }
    text.push_str("A scenario of your own: loadtest run FILE (docs/LOADTEST.md)\n");
    text
}
