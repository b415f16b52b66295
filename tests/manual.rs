//! What lies around the binary: completions for shells, manual pages, the unit of the service.

#![cfg(feature = "runtime")]

use std::fs;
use std::process::{Command, Output};

fn dunlin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dunlin")).args(arguments).output().expect("it runs")
}

fn text(arguments: &[&str]) -> String {
    let output = dunlin(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn bash_completes_commands_and_flags() {
    let directory = std::env::temp_dir().join(format!("dunlin-completions-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("dunlin.bash");
    fs::write(&file, text(&["completions", "bash"])).expect("a file");
    let complete = |words: &[&str]| {
        let list = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let script = format!(
            "source {}\nCOMP_WORDS=({list})\nCOMP_CWORD={}\n_dunlin dunlin '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display(),
            words.len() - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().expect("bash runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["dunlin", "doc"]), ["doctor"]);
    assert_eq!(complete(&["dunlin", "--max-packet"]), ["--max-packet-size"]);
    assert_eq!(complete(&["dunlin", "store", "b"]), ["backup"]);
    assert_eq!(complete(&["dunlin", "import", "--ch"]), ["--check"]);
    assert!(complete(&["dunlin", "completions", ""]).contains(&"fish".to_owned()));
    fs::remove_dir_all(&directory).expect("it is ours");
}

#[test]
fn zsh_and_fish_have_each_command_and_each_flag() {
    let help = text(&["--help"]);
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: Vec<&str> = flags.filter_map(|rest| rest.split([' ', '=', '[']).next()).collect();
    assert!(flags.len() > 80, "{flags:?}");
    let (zsh, fish) = (text(&["completions", "zsh"]), text(&["completions", "fish"]));
    assert!(zsh.starts_with("#compdef dunlin"), "{}", &zsh[..40]);
    for flag in flags {
        assert!(zsh.contains(&format!("--{flag}")), "zsh without --{flag}");
        assert!(fish.contains(&format!("-l {flag} ")), "fish without --{flag}");
    }
    for command in ["acl", "completions", "ctl", "doctor", "healthcheck", "import", "man", "passwd", "store"] {
        assert!(zsh.contains(&format!("({command})")) && fish.contains(&format!("-a \"{command}\"")), "{command}");
    }
    assert_eq!(dunlin(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn each_command_has_a_manual_page() {
    let directory = std::env::temp_dir().join(format!("dunlin-man-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    text(&["man", "--dir", directory.to_str().expect("UTF-8")]);
    let names: Vec<String> = fs::read_dir(&directory)
        .expect("it is there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    for page in
        ["dunlin.1", "dunlin-passwd.1", "dunlin-store-check.1", "dunlin-doctor.1", "dunlin-import.1", "dunlin-ctl.1"]
    {
        assert!(names.iter().any(|name| name == page), "{page}: {names:?}");
    }
    for name in &names {
        let page = fs::read_to_string(directory.join(name)).expect("a page");
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert_eq!(text(&["man"]), fs::read_to_string(directory.join("dunlin.1")).expect("a page"));
    assert!(text(&["man", "store", "check"]).contains("Read everything in a data directory"));
    assert_eq!(dunlin(&["man", "nothing"]).status.code(), Some(1));
    fs::remove_dir_all(&directory).expect("it is ours");
}

const UNIT: &str = include_str!("../packaging/systemd/dunlin.service");

/// The values of a setting of the unit.
fn of_unit(name: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_takes_the_unit() {
    let directory = std::env::temp_dir().join(format!("dunlin-unit-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let unit = directory.join("dunlin.service");
    // Neither the program nor its user nor its manual is installed here.
    let here = UNIT.replace("/usr/bin/dunlin", "/bin/true").replace("=dunlin\nGroup=dunlin", "=root\nGroup=root");
    fs::write(&unit, here.replace("Documentation=man:dunlin(1)\n", "")).expect("a file");
    let output =
        Command::new("systemd-analyze").arg("verify").arg(&unit).output().expect("scripts/test installs systemd");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_dir_all(&directory).expect("it is ours");
}

#[test]
fn the_unit_fits_the_broker() {
    assert_eq!(of_unit("Type"), ["notify"]);
    assert!(of_unit("SystemCallFilter")[0].contains("io_uring_setup io_uring_enter io_uring_register"));
    let watchdog_s: u64 = of_unit("WatchdogSec")[0].parse().expect("seconds");
    assert!(watchdog_s > dunlin::limits::WATCHDOG_S, "the broker's own says why, and is first");
    let statuses: Vec<i32> = [dunlin::config::Exit::Usage, dunlin::config::Exit::Config].map(|exit| exit as i32).into();
    let prevented: Vec<i32> =
        of_unit("RestartPreventExitStatus")[0].split(' ').map(|status| status.parse().expect("a status")).collect();
    assert_eq!(prevented, statuses);
    let files: u64 = of_unit("LimitNOFILE")[0].parse().expect("a number");
    assert!(files >= u64::from(dunlin::limits::CONNECTIONS_DEFAULT) / dunlin::limits::RINGS_MAX as u64);
    // What the unit starts is a command line that the broker takes.
    let command: Vec<&str> = of_unit("ExecStart")[0].split(' ').skip(1).collect();
    assert_eq!(command, ["--config", "/etc/dunlin/dunlin.toml"]);
    let output = dunlin(&[command[0], "nowhere.toml", "--test-config"]);
    assert_eq!(output.status.code(), Some(1), "it is understood, and there is no such file");
}
