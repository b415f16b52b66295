//! What documents tell people to type beside a broker, typed: `docs/CONFIGURATION.md`, `docs/SYS.md`, `docs/MQTT-SN.md`, and what `README.md` does
//! once dunlin is compiled.
//!
//! Lines stand as they are written. Functions and a script in the place of programs say which port it is, and end what would go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::Broker;
use crate::ports::Port;

const CONFIGURATION: &str = include_str!("../../docs/CONFIGURATION.md");
const SYS: &str = include_str!("../../docs/SYS.md");
const MQTT_SN: &str = include_str!("../../docs/MQTT-SN.md");
const README: &str = include_str!("../../README.md");

/// The blocks of a document that have these words.
fn blocks(text: &str, words: &str) -> Vec<String> {
    let all = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let found: Vec<String> = all.filter(|block| block.contains(words)).map(str::to_owned).collect();
    assert!(!found.is_empty(), "the document has no {words:?} any more");
    found
}

/// Nothing else is in the document: a new block is to be typed here.
fn assert_no_other(text: &str, words: &[&str]) {
    for block in blocks(text, "") {
        assert!(words.iter().any(|words| block.contains(words)), "nobody types\n{block}");
    }
}

/// A folder to type in, which goes with its test.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dunlin-typed-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary directory");
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    /// Types a script, with `dunlin` as it was built.
    fn types(&self, script: &str, variables: &[(&str, String)]) {
        self.write("typed.sh", &format!("set -eu -o pipefail\n{script}"));
        let binaries = Path::new(env!("CARGO_BIN_EXE_dunlin")).parent().expect("it lies somewhere");
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("timeout")
            .args(["120", "setpriv", "--pdeathsig", "KILL", "bash", "typed.sh"])
            .current_dir(&self.0)
            .env("PATH", path)
            .env("DUNLIN_ADMIN__PORT", "off")
            .env("DUNLIN_STORE__STORAGE", "memory")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .output()
            .expect("bash runs");
        let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{told}\nof\n{script}");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A broker without an admin server, whose port somebody else may have.
fn start(name: &str) -> Broker {
    let flags = ["--storage", "memory", "--admin-port", "off"];
    Broker::start_with_flags(&format!("typed-{name}"), "[node]\nsys_interval = 1\n", &[], &flags)
}

fn port_of(broker: &Broker) -> String {
    broker.addresses[0].rsplit(':').next().expect("an address").to_owned()
}

#[test]
fn users_come_and_go_and_rules_say_what_they_come_to() {
    assert_no_other(CONFIGURATION, &["dunlin passwd", "dunlin acl check"]);
    let desk = Desk::new("configuration");
    desk.write("old-users", "carl:plain\n");
    desk.write("acl", "user ann\ntopic readwrite ann/#\n");
    // Who is asked for a password types it twice.
    let before = "dunlin() { command dunlin \"$@\" < <(printf 'sesame\\nsesame\\n'); }\n";
    let users = blocks(CONFIGURATION, "dunlin passwd").concat();
    let after = "grep -q '^ann:[$]argon2id' users\ngrep -q '^ci:[$]' users\n! grep -q '^bob:' users\n! grep -q plain old-users\n";
    desk.types(&format!("{before}{users}{after}"), &[("PASSWORD", "open".to_owned())]);
    let rules = blocks(CONFIGURATION, "dunlin acl check").concat();
    desk.types(&format!("{{\n{rules}}} > said\n[ \"$(grep -c '^allowed: line 2' said)\" = 2 ]\n"), &[]);
}

#[test]
fn the_topics_of_the_broker_are_heard() {
    assert_no_other(SYS, &["mosquitto_sub"]);
    let broker = start("sys");
    let desk = Desk::new("sys");
    let heard = blocks(SYS, "mosquitto_sub").concat();
    let before = "mosquitto_sub() { command mosquitto_sub \"$@\" -p \"$PORT\" -C 40 -W 60; }\n\
                  while sleep 0.2; do mosquitto_pub -h 127.0.0.1 -p \"$PORT\" -i visitor -t x -m x; done &\n\
                  trap \"kill $!\" EXIT\n";
    let after = "[ \"$(grep -c '^.SYS/broker/' said)\" -ge 10 ]\n[ \"$(grep -c '^.SYS/brokers/.*/clients/visitor/' said)\" -ge 1 ]\n";
    desk.types(&format!("{before}{{\n{heard}}} > said\n{after}"), &[("PORT", port_of(&broker))]);
}

#[test]
fn sensors_are_listened_to_by_one_flag() {
    let desk = Desk::new("sn");
    // Its holder keeps the UDP port of this number, which is the broker's to have.
    let port = Port::claim().to_string();
    let line = blocks(MQTT_SN, "dunlin --sn-port 1884").concat();
    assert_eq!(line.lines().count(), 1, "{line}");
    let before = "dunlin() { exec setpriv --pdeathsig KILL dunlin \"$@\" --port 0 --shards 1 --no-pin; }\n";
    let line = line.replace("1884", &port).replace('\n', " ");
    let line = line.split(" #").next().unwrap_or_default();
    // SEARCHGW needs no answer; CONNECT of a client `x` has CONNACK with code 0.
    let after = "trap \"kill $!\" EXIT\n\
                 until grep -q 'listening on' said; do kill -0 $!; sleep 0.1; done\n\
                 exec 3<> \"/dev/udp/127.0.0.1/$SN\"\n\
                 printf '\\x07\\x04\\x04\\x01\\x00\\x3cx' >&3\n\
                 [ \"$(timeout 20 head -c 3 <&3 | od -An -tx1 | tr -d ' \\n')\" = 030500 ]\n";
    desk.types(&format!("{before}{line} > said &\n{after}"), &[("SN", port)]);
}

#[test]
fn what_the_readme_publishes_comes_to_who_is_subscribed() {
    let broker = start("readme");
    let desk = Desk::new("readme");
    let [heard, said] = ["mosquitto_sub -h", "mosquitto_pub -h"].map(|words| blocks(README, words).concat());
    let before = "mosquitto_sub() { exec mosquitto_sub \"$@\" -p \"$PORT\" -C 1 -W 60; }\n\
                  mosquitto_pub() { command mosquitto_pub \"$@\" -p \"$PORT\"; }\n";
    // In two terminals: the second one is asked again until the first has heard it.
    let after = "[ \"$(cat heard)\" = 'sensors/hall/temperature 21.5' ]\n";
    let script = format!(
        "{before}(\n{heard}) > heard &\nwhile kill -0 $! 2> /dev/null; do\n{said}sleep 0.2\ndone\nwait $!\n{after}"
    );
    desk.types(&script, &[("PORT", port_of(&broker))]);
}

#[test]
fn what_the_readme_configures_is_taken() {
    let desk = Desk::new("readme-start");
    let port = Port::claim().to_string();
    // Compiled already: what is asked for is printed, and a broker is ended once it listens.
    fs::create_dir_all(desk.0.join("scripts")).expect("a folder");
    desk.write(
        "scripts/start",
        "#!/bin/bash\n\
         case \"$*\" in *--help* | *--print-config*) exec dunlin \"$@\" ;; esac\n\
         case \"$*\" in *--port*) ;; *) set -- \"$@\" --port 0 ;; esac\n\
         setpriv --pdeathsig KILL dunlin \"$@\" --no-pin > out 2> log &\n\
         until grep -q 'listening on' out; do kill -0 $! || { cat log; exit 1; }; sleep 0.1; done\n\
         kill $!\n\
         wait $!\n\
         cat out >> outs\n",
    );
    let block = blocks(README, "scripts/start --help").concat();
    assert!(block.contains("--port 1884 "), "{block}");
    let after = "grep -q \":$PORT \" outs\n[ \"$(wc -l < outs)\" = 2 ]\ngrep -q '^\\[mqtt\\]' my.toml\n";
    let script = format!("chmod 755 scripts/start\n{}{after}", block.replace("--port 1884 ", "--port \"$PORT\" "));
    desk.types(&script, &[("PORT", port)]);
}
