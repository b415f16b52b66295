//! The repository's own documents: no figure in them is another than the one that was measured.

use std::process::Command;

#[test]
fn performance_readme_measurements_and_plots_say_what_the_summaries_say() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(["check", "--root", concat!(env!("CARGO_MANIFEST_DIR"), "/..")])
        .output()
        .expect("the harness runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("agree"), "it looked at nothing");
}

/// The fleet that docs/CAPACITY.md works out is worked out with figures that stand in its own tables.
#[test]
fn the_fleet_of_the_capacity_plan_takes_the_figures_that_were_measured() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CAPACITY.md");
    let text = std::fs::read_to_string(path).expect("it is there");
    let (tables, example) = text.split_once("\n## A fleet of 50,000\n").expect("a fleet is worked out");
    let row =
        |begin: &str| tables.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no row {begin}"));
    for (begin, figure) in
        [("| QoS 1, each publisher waits", "46,893"), ("| TLS 1.3", "1,954"), ("| an idle client", "9,710")]
    {
        assert!(row(begin).contains(figure) && example.contains(figure), "{begin}: the example takes another figure");
    }
    // The sums are those of the factors.
    for (words, value) in [
        ("= 1,667 a second", 50_000.0_f64 / 30.0),
        ("= 3,333 a second", 2.0 * 50_000.0 / 30.0),
        ("= 25 s of one core", 50_000.0 * 490e-6),
        ("= 98 MB in the broker", 50_000.0 * 1_954.0 / 1e6),
        ("= 486 MB in the kernel", 50_000.0 * 9_710.0 / 1e6),
        ("= 60 MB", 5_000.0 * 60.0 * 200.0 / 1e6),
        ("= 15 MB", 50_000.0 * 300.0 / 1e6),
        ("= 433 kB a second", 1_667.0 * 260.0 / 1e3),
        ("= 1.6 GB an hour", 1_667.0 * 3_600.0 * 260.0 / 1e9),
        ("= 640 MiB", 2.0 * 5.0 * 64.0),
    ] {
        assert!(example.contains(words), "the example does not say {words:?}");
        let said: String = words.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        let said: f64 = said.parse().expect("a number");
        assert!((said - value).abs() / value < 0.03, "{words}: it is {value}");
    }
}
