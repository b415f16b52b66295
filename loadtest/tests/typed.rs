//! What documents tell people to type with `loadtest`, typed: every line of `docs/LOADTEST.md`, and the part of `README.md` about it.
//!
//! Lines stand as they are written, but for hosts, paths and sizes that no machine of a test has ([`HERE`]). A function in the place of the
//! program says which port it is, and ends what would go on.

#[path = "support/front_door.rs"]
#[allow(dead_code)] // each test binary asks of the listeners what it needs
mod front_door;

#[path = "support/process.rs"]
#[allow(dead_code)] // and of a broker
mod process;

#[path = "../../tests/support/ports.rs"]
#[allow(dead_code)] // it has the number alone
mod ports;

use std::fs;
use std::path::Path;
use std::process::Command;

use front_door::{Door, FrontDoor};
use ports::Port;

const LOADTEST: &str = include_str!("../../docs/LOADTEST.md");
const README: &str = include_str!("../../README.md");

/// What is written, and what stands for it. Each of them is there: whoever changes a line changes it here.
const HERE: [(&str, &str); 11] = [
    ("-h broker.example", "-h 127.0.0.1"),
    ("-h broker ", "-h 127.0.0.1 "),
    ("p2p-1K-1K-1K-1K", "p2p-10-10-10-10"),
    ("p2p-50K-50K-50K-50K", "p2p-10-10-10-10"),
    ("conn-tls-10K-500", "conn-tls-50-50"),
    ("--clients 20K --rate 2K", "--clients 200 --rate 20"),
    ("--clients 50 --window 16 --duration 20s", "--clients 50 --window 16"),
    ("--kills 100 --kill-every 1s --publishers 100 --rate 2K", "--publishers 10 --rate 100"),
    ("p99>50ms", "p99>50s"),
    ("/run/dunlin/mqtt.sock", "$FOLDER/mqtt.sock"),
    ("/var/tmp/durable", "$FOLDER/durable"),
];

/// What runs before the lines.
const BEFORE: &str = r#"
set -eu -o pipefail
typed=0 agents=()
trap 'kill "${agents[@]}" 2>/dev/null || true' EXIT
loadtest() {
    local more=() port
    case " $* " in
        ' list ' | ' --help ') ;;
        ' agent '*)
            for port in "$ONE_AGENT" "$OTHER_AGENT"; do
                : > "agent-$port"
                setpriv --pdeathsig KILL "$PROGRAM" agent --listen "127.0.0.1:$port" >> "agent-$port" 2>&1 &
                agents+=($!)
                until grep -q listening "agent-$port"; do kill -0 $!; sleep 0.05; done
            done
            typed=$((typed + 1))
            return ;;
        ' durable '*) more=(-p "$DURABLE" --kills 2 --kill-every 800ms) ;;
        ' pub '*) more=(-p "$PLAIN" -L 3 -I 10) ;;
        *' --tls '* | ' conn-tls-'*) more=(-p "$TLS" -d 1s) ;;
        *' --ws '*) more=(-p "$WS" -d 1s) ;;
        *' --unix '*) more=(-d 1s) ;;
        *) more=(-p "$PLAIN" -d 1s) ;;
    esac
    if ! "$PROGRAM" "$@" "${more[@]}" > said 2>&1; then
        cat said
        echo "not as it is written: loadtest $*"
        return 1
    fi
    typed=$((typed + 1))
}
cargo() {
    if [ "$1" = build ]; then return; fi
    [ "$1 $2 $3 $4" = 'run --release --package loadtest' ]
    shift 4
    if [ "${1:-}" = -- ]; then shift; fi
    loadtest "$@"
}
"#;

/// The scripts of a document, one behind the other, with what stands for what is not here.
fn scripts(text: &str, about: &str) -> String {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.filter(|block| block.contains(about)).collect()
}

/// With an address for each of two agents.
fn here(written: &str, agents: [&Port; 2]) -> String {
    let mut text = written.to_owned();
    for (there, here) in HERE {
        assert!(text.contains(there), "no document has {there:?} any more");
        text = text.replace(there, here);
    }
    for (number, agent) in ["10.0.0.5:7883", "10.0.0.6:7883"].iter().zip(agents) {
        assert!(text.contains(number), "no document has {number} any more");
        text = text.replace(number, &format!("127.0.0.1:{agent}"));
    }
    // Addresses stand in single quotes nowhere, so the shell puts the folder in their place.
    text.replace("<<'END'", "<<END")
}

/// Files that lines name.
fn write_files(door: &FrontDoor) {
    // A certificate for each client of the two groups.
    for number in 0..20 {
        for kind in ["pem", "key"] {
            let from = door.file(&format!("client-{}.{kind}", number % 10));
            fs::copy(from, door.file(&format!("device-{number}.{kind}"))).expect("a file");
        }
    }
    for (name, content) in [("reading.json", "{\"n\":%s}"), ("one.jpg", "one picture"), ("two.jpg", "and another")] {
        fs::write(door.file(name), content).expect("a file");
    }
    fs::create_dir_all(door.file(".cargo")).expect("a folder");
    fs::write(door.file(".cargo/env"), "").expect("a file");
}

#[test]
fn every_line_of_the_documents_does_what_it_says() {
    let door = FrontDoor::open("typed");
    write_files(&door);
    let [one_agent, other_agent, durable] = [Port::claim(), Port::claim(), Port::claim()];
    let written = scripts(LOADTEST, "") + &scripts(README, "--package loadtest");
    let lines = here(&written, [&one_agent, &other_agent]);
    let script = door.file("typed.sh");
    fs::write(&script, format!("{BEFORE}{lines}echo \"$typed commands\"\n")).expect("a file");
    let broker = process::dunlin_program();
    let path =
        format!("{}:{}", broker.parent().map(Path::display).expect("a folder"), std::env::var("PATH").expect("a path"));
    let folder = door.file("");
    let output = Command::new("timeout")
        .args(["400", "setpriv", "--pdeathsig", "KILL", "bash"])
        .arg(&script)
        .current_dir(&folder)
        .env("PATH", path)
        .env("HOME", &folder)
        .env("FOLDER", &folder)
        .env("PROGRAM", env!("CARGO_BIN_EXE_loadtest"))
        .env("PLAIN", door.port(Door::Plain).to_string())
        .env("TLS", door.port(Door::Tls).to_string())
        .env("WS", door.port(Door::Ws).to_string())
        .env("ONE_AGENT", one_agent.to_string())
        .env("OTHER_AGENT", other_agent.to_string())
        .env("DURABLE", durable.to_string())
        // Of the broker that the document's start script becomes.
        .env("DUNLIN_LISTENER__PORT", durable.to_string())
        .env("DUNLIN_ADMIN__PORT", "off")
        .env("DUNLIN_STORE__SEGMENT_SIZE", "2MiB")
        .env("DUNLIN_STORE__FREE_SPACE_MIN", "0")
        .output()
        .expect("bash runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let typed = told.lines().find_map(|line| line.strip_suffix(" commands")).and_then(|count| count.parse().ok());
    let expected = lines.lines().filter(|line| line.starts_with("loadtest") || line.starts_with("cargo run")).count();
    assert_eq!(typed, Some(expected), "{told}");
    assert!(expected >= 18, "the documents have lost their commands");
}
