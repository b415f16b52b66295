//! Listeners of every kind: what flags and tables make of them, and what means nothing for a kind.

use super::*;
use crate::settings::ListenerKind;

const FILE: [&str; 2] = ["-c", "d.toml"];

fn told(config: &Config) -> Vec<String> {
    let line = |Listener { address, settings }: &Listener| format!("{:?} {} {address}", settings.kind, settings.name);
    config.listeners.iter().map(line).collect()
}

#[test]
fn flags_describe_one_listener_of_each_kind() {
    let config = COMPUTER.config(&["--bind", "127.0.0.1,::1", "--ws-port", "8083", "--unix", "/run/mqtt.sock"], &[]);
    assert_eq!(
        told(&config),
        [
            "Tcp 127.0.0.1:1883 127.0.0.1:1883",
            "Tcp [::1]:1883 [::1]:1883",
            "WebSocket 127.0.0.1:8083 127.0.0.1:8083",
            "WebSocket [::1]:8083 [::1]:8083",
            "Unix /run/mqtt.sock /run/mqtt.sock",
        ]
    );
    assert!(config.listeners.iter().all(|listener| listener.settings.admits_anonymous()), "all of them are local");
    let open = COMPUTER.config(&["--bind", "0.0.0.0", "--ws-port", "0", "--unix", "x.sock"], &[]);
    let admits: Vec<_> = open.listeners.iter().map(|listener| listener.settings.admits_anonymous()).collect();
    assert_eq!(admits, [false, false, true]);
    let taken = COMPUTER.problems(&["--ws-port", "1883"], &[]);
    assert_eq!(taken, ["--ws-port: 127.0.0.1:1883 is given twice"]);
}

#[test]
fn tables_have_kinds() {
    let file = "[[listener]]\nname = \"a\"\n[[listener]]\nname = \"b\"\nkind = \"websocket\"\n\
                [[listener]]\nname = \"c\"\nkind = \"ws\"\nport = 99\nws_path = \"/x\"\n\
                [[listener]]\nname = \"d\"\nkind = \"unix\"\nunix = \"/run/d.sock\"\nunix_mode = \"0600\"\nunix_owner = \"root\"\n";
    let config = Computer { file, ..COMPUTER }.config(&FILE, &[]);
    let expected =
        ["Tcp a 127.0.0.1:1883", "WebSocket b 127.0.0.1:8083", "WebSocket c 127.0.0.1:99", "Unix d /run/d.sock"];
    assert_eq!(told(&config), expected);
    assert_eq!(config.warnings, [""; 0]);
    let ListenAddress::Unix(socket) = &config.listeners[3].address else { panic!("{config:?}") };
    assert_eq!((socket.mode.0, socket.owner.user.as_deref()), (0o600, Some("root")));
    let printed = config.to_toml();
    let again = Computer { file: &printed, ..COMPUTER }.config(&FILE, &[]);
    assert_eq!(again.listeners, config.listeners, "{printed}");
    assert_eq!(again.warnings, [""; 0], "{printed}");
    let shared = Computer { file, ..COMPUTER }.config(&["-c", "d.toml", "--ws-port", "8080"], &[]);
    assert_eq!(told(&shared)[1], "WebSocket b 127.0.0.1:8080");
}

#[test]
fn mqtt_sn_stays_on_this_machine_unless_its_own_table_says_otherwise() {
    let flags = COMPUTER.config(&["--bind", "0.0.0.0", "--sn-port", "1884"], &[]);
    assert_eq!(told(&flags), ["Tcp 0.0.0.0:1883 0.0.0.0:1883", "MqttSn udp:127.0.0.1:1884 127.0.0.1:1884"]);
    let same = COMPUTER.config(&["--sn-port", "1883"], &[]);
    assert_eq!(same.listeners.len(), 2, "a port of UDP is none of TCP");
    let file = "[[listener]]\nkind = \"mqtt-sn\"\n[[listener]]\nkind = \"mqtt-sn\"\nbind = \"::1\"\nport = 5\n";
    let tables = Computer { file, ..COMPUTER }.config(&["-c", "d.toml", "--bind", "0.0.0.0", "--port", "7"], &[]);
    assert_eq!(told(&tables), ["MqttSn udp:127.0.0.1:1884 127.0.0.1:1884", "MqttSn udp:[::1]:5 [::1]:5"]);
    let twice = "[[listener]]\nkind = \"mqtt-sn\"\n[[listener]]\nkind = \"mqtt-sn\"\n";
    let problems = Computer { file: twice, ..COMPUTER }.problems(&FILE, &[]);
    assert_eq!(problems, ["d.toml:3: 127.0.0.1:1884 is given twice"]);
    let other = "[[listener]]\nsn_retry = \"5s\"\n[[listener]]\nkind = \"mqtt-sn\"\ntcp_user_timeout = \"5s\"\n";
    let warnings = Computer { file: other, ..COMPUTER }.config(&FILE, &[]).warnings;
    let words = "has no effect: this [[listener]] is of another kind";
    assert_eq!(warnings, [format!("d.toml:2 {words}"), format!("d.toml:5 {words}")]);
    let nowhere = COMPUTER.problems(&["--sn-port", "1884", "--sn-topics", "/nowhere"], &[]);
    assert!(nowhere.len() == 1 && nowhere[0].starts_with("--sn-topics: /nowhere: cannot be read"), "{nowhere:?}");
}

#[test]
fn what_a_kind_lacks_or_has_no_use_for_is_told() {
    let problems = |file: &str| Computer { file, ..COMPUTER }.problems(&FILE, &[]);
    let path =
        "d.toml:1: [[listener]] unix: a listener of the kind unix needs a path: unix = \"/run/dunlin/mqtt.sock\"";
    assert_eq!(problems("[[listener]]\nkind = \"unix\"\n"), [path]);
    let twice = "[[listener]]\nkind = \"unix\"\nunix = \"/a\"\n[[listener]]\nkind = \"unix\"\nunix = \"/a\"\n";
    assert_eq!(problems(twice), ["d.toml:4: /a is given twice"]);
    let warnings = |file: &str| Computer { file, ..COMPUTER }.config(&FILE, &[]).warnings;
    let other = |line: usize| format!("d.toml:{line} has no effect: this [[listener]] is of another kind");
    assert_eq!(warnings("[[listener]]\nws_path = \"/x\"\nunix = \"/x\"\n"), [other(3), other(2)]);
    assert_eq!(
        warnings("[[listener]]\nkind = \"unix\"\nunix = \"/x\"\nport = 5\ntcp_keepalive_idle = 5\n"),
        [other(4), other(5)]
    );
    let nobody = warnings("[[listener]]\nproxy_protocol = true\n");
    assert!(nobody.len() == 1 && nobody[0].contains("proxy_from (--proxy-from) names no proxy"), "{nobody:?}");
    let unix = "[[listener]]\nkind = \"unix\"\nunix = \"/x\"\nproxy_protocol = true\n";
    assert_eq!(warnings(unix), [""; 0], "whoever may open the file is trusted");
}

#[test]
fn lists_of_networks_and_versions_are_checked() {
    let problems = |arguments: &[&str]| COMPUTER.problems(arguments, &[]);
    for (flag, value, hint) in [
        ("--allow-from", "10.0.0.1/8", "with /8 it is 10.0.0.0/8"),
        ("--deny-from", "all,10.0.0.0/8", "\"all\" stands alone or not at all"),
        ("--proxy-from", "localhost", "is no network"),
        ("--mqtt-versions", "6", "is none of 3.1, 3.1.1, 5.0"),
        ("--ws-path", "mqtt", "is no path"),
        ("--ws-origins", "example.com", "is no origin"),
        ("--unix-mode", "999", "is no mode"),
        ("--unix", "", "is neither off nor a path"),
    ] {
        let told = problems(&[flag, value]);
        assert!(told.len() == 1 && told[0].starts_with(flag) && told[0].contains(hint), "{told:?}");
    }
    let most = vec!["10.0.0.0/8"; crate::limits::NETWORKS_MAX + 1].join(",");
    assert!(problems(&["--allow-from", &most])[0].contains("allowed is 1 to 64"));
    let most = vec!["https://a"; crate::limits::ORIGINS_MAX + 1].join(",");
    assert!(problems(&["--ws-origins", &most])[0].contains("allowed is 1 to 64"));
    let config = COMPUTER.config(&["--mqtt-versions", "5,3.1.1", "--deny-from", "none"], &[]);
    let settings = &config.listeners[0].settings;
    assert!(settings.mqtt_versions.v5 && settings.mqtt_versions.v311 && !settings.mqtt_versions.v31);
    assert!(settings.deny_from.are_none() && settings.kind == ListenerKind::Tcp);
}
