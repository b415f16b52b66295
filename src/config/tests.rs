//! The three places together: precedence, the round trip of `--print-config`, messages, warnings.

mod kinds;

use super::{layers::ROWS, *};
use crate::auth::Policy;
use crate::auth::scram::{Mechanism, StoredScram};
use crate::settings::{Fallback, Kind, Scope, Unit};

/// As rows of a table have them.
type Arguments = &'static [&'static str];
type Environment = &'static [(&'static str, &'static str)];

/// A machine with `cores` cores and one file, `d.toml`.
struct Computer<'a> {
    cores: usize,
    host_name: &'a str,
    file: &'a str,
}

const COMPUTER: Computer<'static> = Computer { cores: 4, host_name: "edge-1", file: "" };

/// The password file `users` of that machine.
const USERS: &str = "ann:$6$Ioi0S9tGiXMHzzzO$EUr3PQNM5tXvITZ/uVM8bn3TOECg4QGRZn9GwvFj0jmqXlztCGt0uNsajKU9jEzCn0UolIbXZsBlomJIavy73g==\n";

impl Computer<'_> {
    fn load(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, ConfigError> {
        let read = |path: &Path| match path.to_str() {
            Some("d.toml") => Ok(self.file.to_owned()),
            Some("users") => Ok(USERS.to_owned()),
            Some("profiles") => Ok("[[profile]]\npublish_rate = 10\n".to_owned()),
            Some("bans") => Ok("192.0.2.0/24\nclient evil\n".to_owned()),
            Some("ids") => Ok("7 fleet/seven\n".to_owned()),
            Some("acl") => Ok("user ann\ntopic read #\n".to_owned()),
            Some("scram") => Ok(format!("ann:{}\n", StoredScram::new(Mechanism::Sha256, "a", b"0123456789abcdef"))),
            Some("headers") => Ok("X-API-Key: 7\n".to_owned()),
            Some("admins") => Ok(format!("robot:viewer:key${}=\n", "A".repeat(43))),
            Some("nobody") => Ok("# nobody yet\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let machine = Machine { cores: self.cores, host_name: self.host_name.to_owned(), ..Machine::default() };
        let system = System { machine, read_file: &read };
        let arguments = std::iter::once("dunlin").chain(arguments.iter().copied()).map(OsString::from);
        load_on(&system, arguments, environment.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    fn config(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Config {
        match self.load(arguments, environment) {
            Ok(Invocation::Run(config)) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn problems(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
        match self.load(arguments, environment) {
            Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_flag_wins_over_the_variable_over_the_file_over_the_default() {
    let machine = Computer { file: "[listener]\nport = 2001\n", ..COMPUTER };
    let table: &[(Arguments, Environment, u16, &str)] = &[
        (&[], &[], 1883, "default"),
        (&["-c", "d.toml"], &[], 2001, "d.toml:2"),
        (&[], &[("DUNLIN_CONFIG", "d.toml")], 2001, "d.toml:2"),
        (&["-c", "d.toml"], &[("DUNLIN_LISTENER__PORT", "2002")], 2002, "DUNLIN_LISTENER__PORT"),
        (&["-p2003", "-c", "d.toml"], &[("DUNLIN_LISTENER__PORT", "2002")], 2003, "--port"),
        (&["-p2003", "-c", "d.toml"], &[("DUNLIN_CONFIG", "none.toml")], 2003, "--port"),
        (&["-p2003"], &[("DUNLIN_LISTENER__PORT", "2002")], 2003, "--port"),
        (&[], &[("DUNLIN_LISTENER__PORT", "2002")], 2002, "DUNLIN_LISTENER__PORT"),
    ];
    for (arguments, environment, port, source) in table {
        let config = machine.config(arguments, environment);
        assert_eq!(
            (config.process.port, config.source("port").to_string().as_str()),
            (*port, *source),
            "{arguments:?}"
        );
    }
}

#[test]
fn every_setting_is_taken_from_each_of_the_three_places() {
    // A method by itself, without what it needs, is an error.
    let alone = |row: &Setting| row.has_flag() && !row.is_hidden && row.flag != "authentication";
    for (index, row) in ROWS.iter().enumerate().filter(|(_, row)| alone(row)) {
        let text = other_than_default(row);
        let file = format!("[{}]\n{} = {:?}\n", row.section.name(), row.key(), text);
        let machine = Computer { file: &file, ..COMPUTER };
        let flag = format!("--{}={text}", row.flag);
        let variable = row.variable().unwrap();
        let configs = [
            machine.config(&["-c", "d.toml"], &[]),
            machine.config(&[], &[(&variable, &text)]),
            machine.config(&[&flag], &[]),
        ];
        let default = COMPUTER.config(&[], &[]);
        let all = |config: &Config| {
            let (store, admin) = (config.store.clone(), (config.admin.clone(), config.otlp.clone()));
            (config.process.clone(), store, admin, config.settings.clone(), config.listeners.clone())
        };
        for config in configs {
            assert_ne!(all(&config), all(&default), "{}", row.path());
            assert_eq!(config.resolved[index].value, row.parse(std::slice::from_ref(&text)).unwrap());
            let changed = config.resolved.iter().filter(|resolved| resolved.source != Source::Default).count();
            assert_eq!(changed, 1, "{}", row.path());
        }
    }
}

/// A valid text for a setting that is not its default, written with a unit where there is one.
fn other_than_default(row: &Setting) -> String {
    match row.kind {
        Kind::Number { unit, min, .. } => match unit {
            Unit::Count if row.flag == "port" => "1884".to_owned(),
            Unit::Count if row.flag == "admin-port" => "18084".to_owned(),
            Unit::Count if row.flag == "tls-port" => "8885".to_owned(),
            Unit::Count if row.flag == "wss-port" => "8886".to_owned(),
            Unit::Count => (min + 1).to_string(),
            Unit::Bytes if row.flag == "sn-max-datagram" => "1KiB".to_owned(),
            Unit::Bytes => "2MiB".to_owned(),
            Unit::Seconds if row.flag == "auth-http-timeout" => "2s".to_owned(),
            Unit::Seconds => "2m".to_owned(),
        },
        Kind::Switch { .. } => (!matches!(row.fallback, Fallback::Switch(true))).to_string(),
        Kind::Choice { words, .. } => {
            let is_default = |word: &str| matches!(row.fallback, Fallback::Text(default) if default == word);
            words.iter().find(|word| !is_default(word)).expect("there is a choice").to_string()
        }
        Kind::Texts { .. } if row.flag == "tls-ciphers" => "TLS_AES_128_GCM_SHA256".to_owned(),
        Kind::Text { .. } if row.flag == "tls-key-passphrase-variable" => "OTHER".to_owned(),
        Kind::Texts { .. } if row.flag == "jwt-key" => "users".to_owned(),
        Kind::Texts { noun: "method", .. } => "password-file".to_owned(),
        Kind::Texts { noun: "version", .. } => "3.1.1".to_owned(),
        Kind::Texts { noun: "network", .. } => "2001:db8::/32".to_owned(),
        Kind::Texts { noun: "origin", .. } => "https://console.example".to_owned(),
        Kind::Text { .. } if row.flag == "password-file" => "users".to_owned(),
        Kind::Text { .. } if matches!(row.flag, "auth-http-headers" | "otlp-headers") => "headers".to_owned(),
        Kind::Text { .. } if row.flag == "sn-topics" => "ids".to_owned(),
        Kind::Text { .. } if row.flag == "scram-file" => "scram".to_owned(),
        Kind::Text { .. } if row.flag == "acl-file" => "acl".to_owned(),
        Kind::Text { .. } if row.flag == "bans-file" => "bans".to_owned(),
        Kind::Text { .. } if row.flag == "profiles-file" => "profiles".to_owned(),
        Kind::Text { noun: "url", .. } => "http://127.0.0.1:8000/x".to_owned(),
        Kind::Text { noun: "pattern", .. } => "%u/*".to_owned(),
        Kind::Text { noun: "mount point", .. } => "tenant/%u/".to_owned(),
        Kind::Text { noun: "name", .. } => "other".to_owned(),
        Kind::Text { noun: "mode", .. } => "600".to_owned(),
        Kind::Text { noun: "owner", .. } => "root:mqtt".to_owned(),
        Kind::Texts { .. } | Kind::Text { noun: "address", .. } => "::1".to_owned(),
        Kind::Text { .. } if row.flag == "admin-users" => "admins".to_owned(),
        Kind::Text { noun: "ratio", .. } => "0.25".to_owned(),
        Kind::Text { .. } if row.flag == "ws-path" => "/else".to_owned(),
        Kind::Text { .. } => "/var/log/\"dunlin\".log".to_owned(),
    }
}

#[test]
fn what_is_printed_is_read_back_as_the_same_settings() {
    let everything: Vec<String> =
        layers::with_flags().map(|row| format!("--{}={}", row.flag, other_than_default(row))).collect();
    let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
    let table: &[&[&str]] = &[
        &[],
        &everything,
        &["--sys-interval", "off", "--session-expiry-max", "never", "--keep-alive-max", "any", "--allow-anonymous"],
        &["--allow-anonymous=false", "--bind", "::,127.0.0.1:1", "--max-packet-size", "12345", "--log-rate", "all"],
        &["--log-file", "a\nb # \"c\"\\"],
    ];
    for arguments in table {
        let config = COMPUTER.config(arguments, &[]);
        let printed = config.to_toml();
        // On another machine: every value is in the file, none is left to a default.
        let machine = Computer { cores: 1, host_name: "elsewhere", file: &printed };
        let again = machine.config(&["-c", "d.toml"], &[]);
        assert_eq!((&again.process, &again.settings), (&config.process, &config.settings), "{printed}");
        assert_eq!(
            (&again.store, &again.admin, &again.otlp),
            (&config.store, &config.admin, &config.otlp),
            "{printed}"
        );
        assert_eq!(again.listeners, config.listeners);
        let shown = |row: &Setting| row.has_flag() && !row.is_hidden;
        for (row, resolved) in ROWS.iter().zip(&again.resolved).filter(|(row, _)| shown(row)) {
            assert!(matches!(resolved.source, Source::File { .. }), "{}: {printed}", row.flag);
        }
    }
}

#[test]
fn tables_of_sinks_and_sources_are_printed_and_read_back_as_the_same() {
    let file = "[[sink]]\nname = \"a\"\ntopics = [\"t/#\"]\n[sink.republish]\ntopic = \"copy/{{ topic }}\"\n\
        [node]\nname = \"n\"\n[[source]]\nname = \"orders\"\ntopic = \"from/{{ place }}\"\nretain = true\n\
        [source.nats]\nservers = [\"nats://a:4222\"]\nstream = \"S\" # theirs\n\
        [[source]]\nname = \"more\"\ntopic = \"more\"\n[source.kafka]\nbrokers = [\"b:9092\"]\ntopics = [\"x\", \"y\"]\n";
    let config = Computer { file, ..COMPUTER }.config(&["-c", "d.toml"], &[]);
    let printed = config.to_toml();
    let again = Computer { file: &printed, ..COMPUTER }.config(&["-c", "d.toml"], &[]);
    assert_eq!((again.sinks.len(), again.sources.len()), (1, 2), "{printed}");
    assert_eq!((&again.sinks, &again.sources), (&config.sinks, &config.sources), "{printed}");
}

#[test]
fn what_is_printed_says_where_each_value_came_from() {
    let machine = Computer { file: "[mqtt]\nmax_inflight = 32\n", ..COMPUTER };
    let arguments = ["-c", "d.toml", "-v", "--print-config"];
    let Ok(Invocation::PrintConfig { toml, .. }) = machine.load(&arguments, &[("DUNLIN_NODE__NAME", "n")]) else {
        panic!("prints");
    };
    let line = |key: &str| {
        toml.lines().find(|line| line.starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("max_inflight"), "max_inflight = 32 # d.toml:2");
    assert_eq!(line("max_packet_size"), "max_packet_size = \"1MiB\" # default");
    assert_eq!(line("name"), "name = \"n\" # DUNLIN_NODE__NAME");
    assert_eq!(line("level"), "level = \"debug\" # --verbose");
    assert_eq!(line("bind"), "bind = \"127.0.0.1\" # default");
}

#[test]
fn a_value_out_of_range_names_setting_place_value_and_range() {
    let machine = Computer { file: "[mqtt]\nmax_inflight = 70000\ntopic_levels_max = -1\n", ..COMPUTER };
    assert_eq!(
        machine.problems(
            &["-c", "d.toml", "--connect-timeout", "1h", "--bind", "nowhere"],
            &[("DUNLIN_MQTT__MAX_PACKET_SIZE", "1M"), ("DUNLIN_NODE__SHARDS", "")]
        ),
        [
            "--bind: \"nowhere\" is not an IP address: write 127.0.0.1, 0.0.0.0 (all of IPv4), \
             :: (all of IPv6), 192.0.2.1:1884 or [::1]:1884; names are not looked up",
            "--connect-timeout: 1h is out of range: allowed is 1s to 5m (default 10s)",
            "DUNLIN_MQTT__MAX_PACKET_SIZE: \"1M\" could mean two sizes: write 1MB (powers of \
             1000) or 1MiB (powers of 1024)",
            "d.toml:2: [mqtt] max_inflight: 70000 is out of range: allowed is 1 to 65535 (default 64)",
            "d.toml:3: [mqtt] topic_levels_max: \"-1\" is not a whole number such as 1000 or 1_000",
            "DUNLIN_NODE__SHARDS: \"\" is not a whole number such as 1000 or 1_000",
        ]
    );
}

#[test]
fn a_wrong_value_is_told_even_where_a_higher_place_hides_it() {
    let machine = Computer { file: "[listener]\nport = 70000\n", ..COMPUTER };
    let problems = machine.problems(&["-c", "d.toml", "--port", "1884"], &[]);
    assert_eq!(problems, ["d.toml:2: [listener] port: 70000 is out of range: allowed is 0 to 65535 (default 1883)"]);
}

#[test]
fn every_number_is_held_to_its_bounds() {
    for row in layers::shown() {
        let Kind::Number { min, max, .. } = row.kind else { continue };
        let text = |number: u64| match row.place {
            Scope::TableOnly => (format!("[[listener]]\n{} = {number}\n", row.key()), "d.toml:2: ".to_owned(), vec![]),
            _ => (String::new(), format!("--{}: ", row.flag), vec![format!("--{}={number}", row.flag)]),
        };
        let problems = |number: u64| {
            let (file, source, mut arguments) = text(number);
            if !file.is_empty() {
                arguments = vec!["-c".to_owned(), "d.toml".to_owned()];
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let told = match (Computer { file: &file, ..COMPUTER }).load(&arguments, &[]) {
                Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
                Ok(_) => String::new(),
                Err(other) => panic!("{other}"),
            };
            (told, source)
        };
        for number in [min, max] {
            assert_eq!(problems(number).0, "", "{} {number}", row.flag);
        }
        for number in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
            let (told, source) = problems(number);
            assert!(told.starts_with(&source) && told.contains("is out of range"), "{told}");
        }
    }
}

#[test]
fn defaults_follow_the_machine() {
    let config = COMPUTER.config(&[], &[]);
    assert_eq!((config.settings.shards, &*config.settings.node_name), (3, "edge-1"), "a core is left to others");
    for cores in [1, 2] {
        assert_eq!(Computer { cores, ..COMPUTER }.config(&[], &[]).settings.shards, 1, "{cores}");
    }
    let config = Computer { cores: 256, host_name: "what a name/", ..COMPUTER }.config(&[], &[]);
    assert_eq!((config.settings.shards, &*config.settings.node_name), (64, "dunlin"));
    let detected = System::detect();
    assert!(detected.machine.cores >= 1 && !detected.machine.host_name.contains('\n'));
}

#[test]
fn listeners_admit_anonymous_clients_on_loopback_unless_told_otherwise() {
    type Listeners = &'static [(&'static str, bool)];
    let table: &[(Arguments, Listeners, Option<&str>)] = &[
        (&[], &[("127.0.0.1:1883", true)], None),
        (
            &["--bind", "0.0.0.0,::1"],
            &[("0.0.0.0:1883", false), ("[::1]:1883", true)],
            Some(
                "no client can connect on 0.0.0.0:1883: anonymous clients are admitted on loopback only; give \
                 --allow-anonymous to admit all",
            ),
        ),
        (&["--bind", "::,10.0.0.1:99", "--allow-anonymous", "-p1"], &[("[::]:1", true), ("10.0.0.1:99", true)], None),
        (
            &["--allow-anonymous=false"],
            &[("127.0.0.1:1883", false)],
            Some(
                "no client can connect on 127.0.0.1:1883: anonymous clients are refused everywhere (--allow-anonymous \
                 says so); leave it out to admit those of loopback, or give --allow-anonymous to admit all",
            ),
        ),
    ];
    for (arguments, expected, warning) in table {
        let config = COMPUTER.config(arguments, &[]);
        let listeners: Vec<(String, bool)> = config
            .listeners
            .iter()
            .map(|listener| (listener.address.to_string(), listener.settings.admits_anonymous()))
            .collect();
        let expected: Vec<(String, bool)> =
            expected.iter().map(|(addr, anonymous)| ((*addr).to_owned(), *anonymous)).collect();
        assert_eq!(listeners, expected, "{arguments:?}");
        assert_eq!(config.warnings.first().map(String::as_str), *warning, "{arguments:?}");
    }
}

#[test]
fn a_bridge_that_brings_more_than_this_broker_takes_is_told() {
    let warnings = |most: u8, topic: &str| {
        let bridge = format!("[[bridge]]\nname = \"b\"\naddress = \"h\"\ntopics = [\"{topic}\"]\n");
        let file = format!("[mqtt]\nmax_qos = {most}\n{bridge}");
        Computer { file: &file, ..COMPUTER }.config(&["-c", "d.toml"], &[]).warnings
    };
    for (most, topic) in [(2, "# both 2"), (1, "# out 2"), (1, "# in 1")] {
        assert_eq!(warnings(most, topic), [""; 0], "{most} {topic}");
    }
    let told = warnings(1, "# in 2");
    assert!(told.len() == 1 && told[0].starts_with("[[bridge]] b brings messages of a higher QoS"), "{told:?}");
}

#[test]
fn nobody_is_warned_of_a_listener_that_clients_come_in_by_with_scram_or_a_certificate() {
    let warnings = |listener: &str| {
        let file = format!("[[listener]]\nbind = \"0.0.0.0\"\n{listener}");
        Computer { file: &file, ..COMPUTER }.config(&["-c", "d.toml"], &[]).warnings
    };
    assert!(warnings("")[0].starts_with("no client can connect on 0.0.0.0:1883"));
    assert_eq!(warnings("scram_file = \"scram\"\n"), [""; 0]);
    let tls = "kind = \"tls\"\ntls_cert = \"c\"\ntls_key = \"k\"\ntls_ca = \"ca\"\n";
    let certificate = "certificate_user = \"common-name\"\n";
    assert_eq!(warnings(&format!("{tls}tls_client_cert = \"required\"\n{certificate}")), [""; 0]);
    assert_eq!(warnings(&format!("{tls}tls_client_cert = \"optional\"\n{certificate}")), [""; 0]);
    let without_name = warnings(&format!("{tls}tls_client_cert = \"required\"\n"));
    assert!(without_name[0].starts_with("no client can connect on 0.0.0.0:8883"), "{without_name:?}");
}

#[test]
fn a_password_file_is_read_with_the_settings_and_a_broken_one_makes_none() {
    let config = COMPUTER.config(&["--password-file", "users", "--bind", "0.0.0.0", "--allow-anonymous=false"], &[]);
    assert!(config.access.asks());
    assert_eq!(config.warnings, [""; 0], "somebody can come in");
    assert_eq!(config.listeners[0].settings.policy, Policy::Ask);
    let config = COMPUTER.config(&["--password-file", "users"], &[]);
    assert_eq!(config.listeners[0].settings.policy, Policy::AskAboutCredentials);
    assert!(config.warnings[0].starts_with("clients of this machine still need no password on 127.0.0.1:1883"));
    assert_eq!(COMPUTER.config(&["--password-file", "users", "--allow-anonymous=loopback"], &[]).warnings, [""; 0]);
    for (arguments, problem) in [
        (&["--password-file", "gone"][..], "--password-file: gone: cannot be read: entity not found"),
        (&["--password-file", "nobody"], "--password-file: nobody: it names no user"),
        (&["--bans-file", "gone"], "--bans-file: gone: cannot be read: entity not found"),
        (&["--bans-file", "users"], "--bans-file: users: line 1: "),
        (&["--profiles-file", "acl"], "--profiles-file: acl: line 1: this is not TOML"),
        (&["--acl-file", "gone"], "--acl-file: gone: cannot be read: entity not found"),
        (&["--acl-file", "nobody"], "--acl-file: nobody: it holds no rule"),
        (&["--acl-file", "users"], "--acl-file: users: line 1: this begins with none of"),
        (&["--authentication", "password-file"], "--authentication: password-file needs a file"),
        (&["--authentication", "kerberos"], "--authentication: \"kerberos\" is no method"),
        // Two listeners that share a file share the message.
        (&["--password-file", "gone", "--bind", "::1,127.0.0.1"], "--password-file: gone: cannot be read"),
    ] {
        let problems = COMPUTER.problems(arguments, &[]);
        assert!(problems.len() == 1 && problems[0].starts_with(problem), "{problems:?}");
    }
}

#[test]
fn each_listener_may_have_users_of_its_own() {
    let file = "[auth]\npassword_file = \"users\"\n[[listener]]\nname = \"a\"\n[[listener]]\nname = \"b\"\nport = 2\n\
                password_file = \"none\"\n[[listener]]\nport = 3\npassword_file = \"nobody\"\n";
    let problems = Computer { file, ..COMPUTER }.problems(&["-c", "d.toml"], &[]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("d.toml:11: [[listener]] password_file: nobody: it names no user"), "{problems:?}");
    let good = file.replace("\"nobody\"", "\"users\"");
    let config = Computer { file: &good, ..COMPUTER }.config(&["-c", "d.toml"], &[]);
    let policies: Vec<Policy> = config.listeners.iter().map(|listener| listener.settings.policy).collect();
    assert_eq!(policies, [Policy::AskAboutCredentials, Policy::Admit, Policy::AskAboutCredentials]);
}

#[test]
fn bounds_beyond_the_memory_that_there_is_are_told() {
    let warnings = |memory_max_bytes: Option<u64>, arguments: &[&str]| {
        let machine = Machine { memory_max_bytes, ..Machine::default() };
        let system = System { machine, read_file: &|_| Ok(String::new()) };
        let arguments = std::iter::once("dunlin").chain(arguments.iter().copied()).map(OsString::from);
        match load_on(&system, arguments, []) {
            Ok(Invocation::Run(config)) => config.warnings,
            other => panic!("{other:?}"),
        }
    };
    let small = warnings(Some(2 << 30), &[]);
    assert!(small.len() == 1 && small[0].contains("the 2048 MiB of memory"), "{small:?}");
    assert_eq!(warnings(Some(2 << 30), &["--max-queued-memory", "680MiB", "--retained-max-bytes", "340MiB"]), [""; 0]);
    assert_eq!(warnings(Some(64 << 30), &[]), [""; 0]);
    assert_eq!(warnings(None, &[]), [""; 0], "where nobody knows");
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    assert_eq!(COMPUTER.problems(&["--bind", "::1,[::1]:1883"], &[]), ["--bind: [::1]:1883 is given twice"]);
    assert_eq!(COMPUTER.config(&["--bind", "::1,::1", "--port", "0"], &[]).listeners.len(), 2);
    let warnings = |arguments: &[&str]| COMPUTER.config(arguments, &[]).warnings;
    assert_eq!(warnings(&["--max-packet-size", "2MiB", "--outbox-max-bytes", "2MiB"]), [""; 0]);
    assert!(warnings(&["--max-packet-size", "2MiB"])[0].starts_with("[session] outbox_max_bytes is 1MiB, less than"));
    assert!(warnings(&["--max-queued-bytes", "1KiB"])[0].starts_with("[session] max_queued_bytes is 1KiB, less than"));
    assert!(
        warnings(&["--storage", "memory", "--max-queued-memory", "1MiB"])[0]
            .starts_with("[session] max_queued_bytes is 16MiB, more than")
    );
    assert_eq!(warnings(&["--storage", "memory", "--max-queued-memory", "16MiB"]), [""; 0]);
    assert_eq!(warnings(&["--max-queued-memory", "1MiB"]), [""; 0], "the rest waits on the disk");
    assert_eq!(
        warnings(&["--shards", "5"])[0],
        "[node] shards is 5, but this process may use 4 cores: shards will take turns"
    );
}

#[test]
fn a_file_that_cannot_be_read_or_holds_nothing_is_refused() {
    assert!(COMPUTER.problems(&["-c", "gone.toml"], &[])[0].starts_with("gone.toml: cannot be read: "));
    assert!(COMPUTER.problems(&["-c", "d.toml"], &[])[0].starts_with("d.toml:1: holds no setting"));
}

#[test]
fn errors_have_the_shape_that_log_lines_would_have() {
    let format = |arguments: &[&str], environment: &[(&str, &str)], file: &str| match (Computer { file, ..COMPUTER })
        .load(arguments, environment)
    {
        Err(ConfigError::Usage { format, .. } | ConfigError::Invalid { format, .. }) => format,
        other => panic!("{other:?}"),
    };
    let json = [("DUNLIN_LOG__FORMAT", "json")];
    assert_eq!(format(&["--prot"], &[], ""), LogFormat::Text);
    assert_eq!(format(&["--prot", "--log-format", "json"], &[], ""), LogFormat::Json);
    assert_eq!(format(&["--log-format=json", "--prot"], &[], ""), LogFormat::Json);
    assert_eq!(format(&["--prot"], &json, ""), LogFormat::Json);
    assert_eq!(format(&["--port=x"], &json, ""), LogFormat::Json);
    assert_eq!(format(&["--port=x", "--log-format=text"], &json, ""), LogFormat::Text);
    assert_eq!(format(&["--port=x", "-c", "d.toml"], &[], "[log]\nformat = \"json\"\n"), LogFormat::Json);
}

#[test]
fn each_outcome_has_its_exit_status() {
    let exit = |arguments: &[&str]| COMPUTER.load(arguments, &[]).err().map(|error| error.exit());
    assert_eq!(exit(&["--test-config"]), None);
    assert_eq!(exit(&["--help"]), None);
    assert_eq!(exit(&["--test-config", "-c", "gone.toml"]), Some(Exit::TestFailed));
    assert_eq!(exit(&["-c", "gone.toml"]), Some(Exit::Config));
    assert_eq!(exit(&["--port", "99999"]), Some(Exit::Config));
    assert_eq!(exit(&["--prot", "1"]), Some(Exit::Usage));
}

#[test]
fn whatever_is_wrong_anywhere_is_told_at_once() {
    let file = "[[listener]]\nprot = 1\nkind = \"quic\"\n[[listener]]\nmax_connections = 0\n[session]\nexpiry_max = \"forever\"\n";
    let machine = Computer { file, ..COMPUTER };
    assert_eq!(
        machine.problems(&["-c", "d.toml", "--port", "x"], &[("DUNLIN_NODE__PIN", "maybe")]),
        [
            "d.toml:2: unknown key \"prot\" in [[listener]]; did you mean [[listener]] port?",
            "--port: \"x\" is not a whole number such as 1000 or 1_000",
            "d.toml:7: [session] expiry_max: \"forever\" is not a duration: write seconds as a whole number, or with s, m, \
             h, d or w, as in 90s or 1h30m; did you mean \"never\"?",
            "DUNLIN_NODE__PIN: \"maybe\" is neither true nor false",
            "d.toml:3: [[listener]] kind: \"quic\" is none of tcp, tls, websocket, ws, wss, unix, mqtt-sn",
            "d.toml:5: [[listener]] max_connections: 0 is out of range: allowed is 1 to 67_108_863, or all (default all)",
        ]
    );
}

#[test]
fn a_table_has_its_own_and_takes_the_rest_from_what_is_said_for_all() {
    let file = "[[listener]]\nname = \"a\"\nbind = \"10.0.0.1\"\nconnect_timeout = \"3s\"\n\n\
                [[listener]]\nbind = \"127.0.0.1:99\"\nallow_anonymous = false\nmax_connections = 7\n";
    let config = Computer { file, ..COMPUTER }.config(&["-c", "d.toml", "--allow-anonymous", "--port", "1884"], &[]);
    let told: Vec<String> = config
        .listeners
        .iter()
        .map(|Listener { address, settings }| {
            let max = settings.connections_max;
            format!("{} {address} {} {}s {max}", settings.name, settings.admits_anonymous(), settings.connect_timeout_s)
        })
        .collect();
    assert_eq!(told, ["a 10.0.0.1:1884 true 3s 67108864", "127.0.0.1:99 127.0.0.1:99 false 10s 7"]);
    let printed = config.to_toml();
    let again = Computer { file: &printed, ..COMPUTER }.config(&["-c", "d.toml"], &[]);
    assert_eq!((again.listeners, again.settings), (config.listeners, config.settings), "{printed}");
    assert!(again.warnings.iter().all(|warning| !warning.contains("has no effect")), "{:?}: {printed}", again.warnings);
    assert!(printed.contains("[[listener]]\nbind = \"10.0.0.1\"") && printed.contains("# d.toml:2"), "{printed}");
}

#[test]
fn listeners_that_collide_or_have_several_addresses_are_refused() {
    let table = [
        ("[[listener]]\n[[listener]]\nconnect_timeout = 1\n", "d.toml:2: 127.0.0.1:1883 is given twice"),
        (
            "[[listener]]\nname = \"a\"\n[[listener]]\nname = \"a\"\nport = 1\n",
            "d.toml:3: a listener is called \"a\" already",
        ),
        (
            "[[listener]]\nport = 5\nbind = [\"::1\", \"127.0.0.1\"]\n",
            "d.toml:3: [[listener]] bind: a listener has one address, not 2: write a [[listener]] for each",
        ),
    ];
    for (file, problem) in table {
        assert_eq!(Computer { file, ..COMPUTER }.problems(&["-c", "d.toml"], &[]), [problem], "{file}");
    }
}

#[test]
fn more_listeners_than_there_may_be_are_refused() {
    let table = |port: usize| format!("[[listener]]\nport = {port}\n");
    let tables = |count: usize| (1..=count).map(table).collect::<Vec<_>>().concat();
    let most = crate::limits::LISTENERS_MAX;
    let arguments = ["-c", "d.toml"];
    assert_eq!(Computer { file: &tables(most), ..COMPUTER }.config(&arguments, &[]).listeners.len(), most);
    let problems = Computer { file: &tables(most + 1), ..COMPUTER }.problems(&arguments, &[]);
    assert_eq!(problems, ["d.toml:33: there may be 16 listeners, and this is one more"]);
    let binds: Vec<String> = (0..=most).map(|n| format!("\"10.0.0.{n}\"")).collect();
    let file = format!("[listener]\nbind = [{}]\n", binds.join(", "));
    assert_eq!(Computer { file: &file, ..COMPUTER }.problems(&arguments, &[]).len(), 1);
}

#[test]
fn what_no_listener_takes_up_is_warned_of() {
    let tables = "[[listener]]\nport = 1\n[[listener]]\nbind = \"127.0.0.1:2\"\n";
    let warnings = |file: &str, arguments: &[&str]| {
        let arguments: Vec<&str> = ["-c", "d.toml"].iter().chain(arguments).copied().collect();
        Computer { file, ..COMPUTER }.config(&arguments, &[]).warnings
    };
    assert_eq!(warnings(tables, &["-p", "3"]), ["--port has no effect: every [[listener]] has its own port"]);
    assert_eq!(warnings(tables, &["--connect-timeout", "3"]), [""; 0]);
    assert_eq!(warnings("[[listener]]\n", &["-p", "3"]), [""; 0]);
    let both = "[[listener]]\nport = 4\n[[listener]]\nbind = \"127.0.0.1:1999\"\nport = 5\n";
    let without_effect = "d.toml:5 has no effect: bind of this [[listener]] says 127.0.0.1:1999";
    assert_eq!(warnings(both, &[]), [without_effect]);
    let bind = "[listener]\nbind = [\"127.0.0.1:5\", \"127.0.0.2:6\"]\n";
    assert_eq!(warnings(bind, &["-p", "3"]), ["--port has no effect: every address of --bind has its own port"]);
    assert_eq!(warnings("[listener]\nbind = [\"127.0.0.1:5\", \"127.0.0.2\"]\n", &["-p", "3"]), [""; 0]);
    let printed = Computer { file: bind, ..COMPUTER }.config(&["-c", "d.toml"], &[]).to_toml();
    assert_eq!(warnings(&printed, &[]), [""; 0], "{printed}");
}

#[test]
fn rules_and_profiles_about_a_listener_that_there_is_not_are_warned_of() {
    let read = |path: &Path| {
        let text = match path.to_str() {
            Some("rules") => {
                "[[rule]]\nallow = \"all\"\ntopics = \"#\"\nlisteners = [\"publik\", \"127.0.0.1:1883\"]\n"
            }
            _ => "[[profile]]\npublish_rate = 1\nlisteners = \"inner\"\n",
        };
        Ok(text.to_owned())
    };
    let system = System { machine: Machine { cores: 1, ..Machine::default() }, read_file: &read };
    let arguments = ["dunlin", "--acl-file", "rules", "--profiles-file", "profiles"].map(Into::into);
    let Ok(Invocation::Run(config)) = load_on(&system, arguments, []) else { panic!("it is right") };
    let about = |word: &str| config.warnings.iter().filter(|warning| warning.contains(word)).count();
    assert_eq!((about("line 1: allow all #: no listener is called \"publik\""), about("\"inner\"")), (1, 1));
    assert_eq!(about("no listener is called"), 2, "{:?}", config.warnings);
}

#[test]
fn a_certificate_makes_a_port_for_tls_listen_beside_the_others() {
    let kinds = |flags: &[&str]| -> Vec<String> {
        let system = System { machine: Machine { cores: 1, ..Machine::default() }, read_file: &|_| Ok(String::new()) };
        let arguments = std::iter::once("dunlin").chain(flags.iter().copied()).map(Into::into);
        let Ok(Invocation::Run(config)) = load_on(&system, arguments, []) else { panic!("{flags:?}") };
        let one = |listener: &Listener| format!("{} {:?}", listener.address, listener.settings.kind);
        config.listeners.iter().map(one).collect()
    };
    let plain = "127.0.0.1:1883 Tcp";
    assert_eq!(kinds(&[]), [plain]);
    assert_eq!(kinds(&["--tls-cert", "c", "--tls-key", "k"]), [plain, "127.0.0.1:8883 Tls"]);
    assert_eq!(kinds(&["--tls-port", "8884", "--tls-cert", "c", "--tls-key", "k"]), [plain, "127.0.0.1:8884 Tls"]);
    let both = kinds(&["--wss-port", "8084", "--ws-port", "8083", "--tls-cert", "c", "--tls-key", "k"]);
    let expected = ["127.0.0.1:8083 WebSocket", "127.0.0.1:8883 Tls", "127.0.0.1:8084 SecureWebSocket"];
    assert_eq!(both, [&[plain][..], &expected].concat());
}
