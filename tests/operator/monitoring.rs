//! Metrics as Prometheus meets them: promtool on a scrape and on the rules, a server that scrapes a broker and whose rules fire, and what the
//! dashboard and the rules name. `promtool` and `prometheus` are Debian's package `prometheus`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::{Admin, Answer, ask};
use crate::broker::{Broker, Client};
use crate::small_disk::{SmallDisk, on_small_disk};
use crate::tls::Authority;

const LIMIT: Duration = Duration::from_secs(30);
const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");

/// What a scrape has, in the form that whoever names none gets.
fn scrape(address: &str) -> Answer {
    let answer = ask(address, &[], "GET", "/metrics", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Runs a program of Prometheus' on a text. What it says comes back.
fn promtool(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(DASHBOARDS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: scripts/test installs Debian's package prometheus");
    let written = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    drop(written); // whoever has read enough reads no more
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Names of samples in a scrape.
fn names(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().expect("a name")).collect()
}

/// Names of metrics in a dashboard or in rules.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("dunlin_") || word.starts_with("process_")).collect()
}

/// A broker that has everything that a scrape can show: TLS with a certificate that ends soon and a revocation list, and a data directory.
struct Whole {
    admin: Admin,
    _authority: Authority,
    data: PathBuf,
}

impl Drop for Whole {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

impl Whole {
    fn start(name: &str) -> Self {
        let authority = Authority::new(name);
        authority.issue("short", 7, 3);
        authority.revoke_until("crl.pem", &[8], 48 * 3_600);
        let [certificate, key, ca, list] =
            ["short.pem", "short.key", "ca.pem", "crl.pem"].map(|file| authority.path(file));
        let data = std::env::temp_dir().join(format!("dunlin-data-{name}-{}", std::process::id()));
        let more = format!(
            "[[listener]]\nname = \"plain\"\nport = 0\n[[listener]]\nname = \"secure\"\nkind = \"tls\"\nport = 0\ntls_cert = {certificate:?}\n\
             tls_key = {key:?}\ntls_ca = {ca:?}\ntls_crl = {list:?}\ntls_client_cert = \"optional\"\n[store]\nsegment_size = \"2MiB\"\n[session]\nmax_queued_messages = 1\n{CONNECTORS}"
        );
        let data_flags = ["--storage", "disk", "--data-dir", data.to_str().expect("UTF-8")];
        Self { admin: Admin::start_with_flags(name, &more, &data_flags), _authority: authority, data }
    }
}

/// One of each, with nobody where they go.
const CONNECTORS: &str = "[[bridge]]\nname = \"away\"\naddress = [\"mqtt://127.0.0.1:1\"]\ntopics = [\"away/# out 1\"]\n\
    [[sink]]\nname = \"copies\"\ntopics = [\"s/#\"]\n[sink.republish]\ntopic = \"copy/{{ topic }}\"\n\
    [[source]]\nname = \"orders\"\ntopic = \"from/{{ place }}\"\n[source.nats]\nservers = [\"127.0.0.1:1\"]\nstream = \"S\"\n";

/// A subscriber to `t` that keeps its session and goes.
fn leave_a_session(broker: &Broker) {
    let mut client = Client::open(&broker.addresses[0]);
    client.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, b's']);
    let _: [u8; 4] = client.receive();
    client.send(&[0x82, 6, 0, 1, 0, 1, b't', 1]);
    assert_eq!(client.receive::<5>()[4], 1);
}

/// So many messages with QoS 1 for it.
fn publish(client: &mut Client, messages: u8) {
    for number in 1..=messages {
        client.send(&[0x32, 6, 0, 1, b't', 0, number, b'x']);
        assert_eq!(client.receive::<4>()[..2], [0x40, 2]);
    }
}

#[test]
fn promtool_has_nothing_to_say_of_a_scrape_nor_of_the_rules() {
    let whole = Whole::start("promtool");
    let admin = &whole.admin;
    let mut client = Client::connect(&admin.broker, b'a');
    publish(&mut client, 70);
    let answer = scrape(&admin.address);
    assert!(answer.kind.starts_with("text/plain; version=0.0.4"), "{}", answer.kind);
    assert_eq!(promtool(&["check", "metrics"], &answer.text), Ok(String::new()));
    assert!(promtool(&["check", "metrics"], "# TYPE a_total gauge\na_total{ 1\n").is_err(), "it looks");
    promtool(&["check", "rules", "alerts.yml"], "").expect("the rules are right");
    promtool(&["test", "rules", "alerts_test.yml"], "").expect("each rule fires when it should, and only then");
    let accept = [("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3")];
    let other = ask(&admin.address, &accept, "GET", "/metrics", None);
    assert!(
        other.kind.starts_with("application/openmetrics-text") && other.text.ends_with("# EOF\n"),
        "{}",
        other.kind
    );
    assert_eq!(names(&other.text), names(&answer.text));
}

#[test]
fn prometheus_takes_the_configuration_of_the_document() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md")).expect("it is there");
    let block = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    let directory = std::env::temp_dir().join(format!("dunlin-prometheus-document-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let key = directory.join("dunlin.key");
    fs::write(&key, "key").expect("a file");
    // On this machine nothing is installed.
    let rules = "/usr/share/doc/dunlin/dashboards/alerts.yml";
    assert!(block.contains(rules) && block.contains("/etc/prometheus/dunlin.key"), "{block}");
    let block = block.replace(rules, &format!("{DASHBOARDS}/alerts.yml"));
    let block = block.replace("/etc/prometheus/dunlin.key", key.to_str().expect("UTF-8"));
    let path = directory.join("prometheus.yml");
    fs::write(&path, &block).expect("a file");
    let told = promtool(&["check", "config", path.to_str().expect("UTF-8")], "").expect("it is a configuration");
    assert!(told.contains("rules found"), "{told}");
    fs::write(&path, block.replace("job_name", "job")).expect("a file");
    assert!(promtool(&["check", "config", path.to_str().expect("UTF-8")], "").is_err(), "it looks");
    // The rules that say whether it is there go by this name.
    let rules = fs::read_to_string(format!("{DASHBOARDS}/alerts.yml")).expect("it is there");
    assert!(block.contains("job_name: dunlin\n") && rules.contains("up{job=\"dunlin\"}"), "{block}");
    fs::remove_dir_all(directory).expect("it is ours");
}

#[test]
fn each_metric_that_a_dashboard_or_a_rule_names_is_scraped_and_each_rule_has_a_test() {
    let whole = Whole::start("named");
    let admin = &whole.admin;
    // What is counted by two things at once is there once it has happened.
    drop(Client::connect(&admin.broker, b'a'));
    let begun = Instant::now();
    let text = loop {
        let text = scrape(&admin.address).text;
        if text.contains("dunlin_listener_connections_ended_total{listener=\"plain\",reason=\"socket_closed\"} 1") {
            break text;
        }
        assert!(begun.elapsed() < LIMIT, "nothing has ended: {text}");
    };
    let scraped = names(&text);
    let read = |file: &str| fs::read_to_string(Path::new(DASHBOARDS).join(file)).expect("it is there");
    let (dashboard, rules, tests) = (read("grafana.json"), read("alerts.yml"), read("alerts_test.yml"));
    for (file, content) in [("grafana.json", &dashboard), ("alerts.yml", &rules), ("alerts_test.yml", &tests)] {
        let named = named(content);
        let unknown = named.difference(&scraped).copied();
        let unknown: Vec<&str> = unknown.filter(|name| *name != SCRAPED_WITH_A_SERVER).collect();
        assert!(unknown.is_empty(), "{file} names what no scrape has: {unknown:?}");
    }
    let parsed: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = parsed["panels"].as_array().expect("panels");
    assert!(
        panels.len() > 30 && panels.iter().all(|panel| panel["title"].as_str().is_some_and(|title| !title.is_empty()))
    );
    // The other way round: what is counted is on the dashboard, but for what only tells one broker from another.
    let shown = named(&dashboard);
    let families = scraped.iter().filter(|name| !name.ends_with("_bucket") && !name.ends_with("_count"));
    let hidden: Vec<&&str> = families
        .filter(|name| !shown.contains(**name) && !shown.contains(&*name.replace("_sum", "_bucket")))
        .filter(|name| !NOT_ON_THE_DASHBOARD.contains(*name))
        .collect();
    assert!(hidden.is_empty(), "the dashboard does not show {hidden:?}");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() >= 14, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "alerts_test.yml does not fire {alert}");
    }
}

/// Nobody knows what waits where a source cannot read: `tests/targets` has one that can.
const SCRAPED_WITH_A_SERVER: &str = "dunlin_source_lag_messages";

/// What a dashboard is no place for.
const NOT_ON_THE_DASHBOARD: [&str; 9] = [
    "dunlin_packets_received_total",
    "dunlin_packets_sent_total",
    "dunlin_messages_received_payload_bytes_total",
    "dunlin_messages_sent_payload_bytes_total",
    "dunlin_queued_bytes",
    "dunlin_uptime_seconds",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "process_max_fds",
];

#[test]
fn a_scrape_is_small_and_quick_and_has_what_was_timed() {
    let whole = Whole::start("size");
    let admin = &whole.admin;
    leave_a_session(&admin.broker);
    let mut client = Client::connect(&admin.broker, b'a');
    publish(&mut client, 70);
    publish(&mut client, 70);
    let took = (0..20).map(|_| {
        let begun = Instant::now();
        scrape(&admin.address);
        begun.elapsed()
    });
    let took = took.min().expect("twenty of them");
    let text = scrape(&admin.address).text;
    println!("a scrape of two shards: {} bytes, {took:?} at best", text.len());
    assert!(text.len() < 100 << 10, "{} bytes", text.len());
    // The limit of a release build is 2 ms; this one is not optimized, and connects each time.
    assert!(took < Duration::from_millis(50), "{took:?}");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse::<f64>().expect("a number")
    };
    assert!(value("dunlin_ack_seconds_count") >= 2.0, "one of 64 of 140");
    assert!(value("dunlin_log_write_seconds_count") >= 1.0 && value("dunlin_log_write_seconds_sum") > 0.0);
    assert!(value("dunlin_log_written_bytes_total") >= 4_096.0);
    assert!(
        value("dunlin_turn_seconds_count{shard=\"0\"}") >= 1.0 && value("dunlin_turn_seconds_sum{shard=\"1\"}") > 0.0
    );
    assert!(value("dunlin_messages_received_total{qos=\"1\"}") >= 140.0);
    assert!(value("dunlin_connects_accepted_total{version=\"3.1.1\"}") >= 2.0);
    assert!((value("dunlin_clients_connected{version=\"3.1.1\"}") - 1.0).abs() < f64::EPSILON);
    assert!(value("dunlin_sockets_accepted_total{listener=\"plain\"}") >= 2.0);
    assert!((value("dunlin_listener_connections{listener=\"plain\"}") - 1.0).abs() < f64::EPSILON);
    assert!(value("dunlin_messages_dropped_total{reason=\"queue_full\"}") >= 100.0);
    assert!(value("dunlin_listener_connections_closed_total{listener=\"plain\"}") >= 1.0);
    assert_eq!(value("dunlin_listener_connections_closed_total{listener=\"secure\"}").to_bits(), 0);
    assert_eq!(value("dunlin_listener_connections_refused_total{listener=\"plain\"}").to_bits(), 0);
    assert_eq!(value("dunlin_listener_messages_dropped_total{listener=\"plain\"}").to_bits(), 0, "it was away");
    assert!(value("dunlin_ring_enters_total") >= 100.0 && value("dunlin_ring_completions_total") >= 100.0);
    assert!(value("dunlin_data_filesystem_available_bytes") < value("dunlin_data_filesystem_size_bytes"));
}

/// A server that scrapes; ended and removed with this.
struct Prometheus {
    child: Child,
    directory: PathBuf,
    address: String,
}

impl Prometheus {
    /// Scrapes `target` five times a second, with the rules in which every time is short.
    fn start(target: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-prometheus-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let rules = fs::read_to_string(Path::new(DASHBOARDS).join("alerts.yml")).expect("it is there");
        fs::write(directory.join("alerts.yml"), with_short_times(&rules)).expect("a file");
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\nrule_files: [alerts.yml]\n\
             scrape_configs: [{{job_name: dunlin, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        let config = config.replace("scrape_timeout: 200ms", "scrape_timeout: 180ms");
        fs::write(directory.join("prometheus.yml"), config).expect("a file");
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is there: scripts/test installs Debian's package");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut lines = log.lines().map_while(Result::ok);
        let mut seen = String::new();
        let address = lines.by_ref().find_map(|line| {
            let _ = writeln!(seen, "{line}");
            Some(line.split_once("msg=\"Listening on\" address=")?.1.trim().to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("it does not listen:\n{seen}"));
        let begun = Instant::now();
        while ask(&address, &[], "GET", "/-/ready", None).status != 200 {
            assert!(begun.elapsed() < LIMIT, "it does not become ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, directory, address }
    }

    fn ask(&self, path: &str) -> Value {
        let answer = ask(&self.address, &[], "GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        // Where it answers in chunks the body is between their lengths.
        let text = answer.text.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c.is_whitespace());
        let end = text.rfind('}').expect("an object");
        serde_json::from_str(&text[..=end]).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// The value that an expression without labels has now.
    fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.ask(&format!("/api/v1/query?query={}", expression.replace('+', "%2B").replace(' ', "%20")));
        answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok())
    }

    /// Names of the alerts that fire.
    fn firing(&self) -> BTreeSet<String> {
        let answer = self.ask("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().expect("a list").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned()).collect()
    }

    fn wait_for(&self, alert: &str) {
        let begun = Instant::now();
        while !self.firing().contains(alert) {
            assert!(begun.elapsed() < LIMIT, "{alert} does not fire; those that do: {:?}", self.firing());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The rules with all windows of five seconds, and without waiting.
fn with_short_times(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("for: ") {
            let _ = writeln!(text, "{:indent$}for: 0s", "");
        } else {
            let _ = writeln!(text, "{}", line.replace("[5m]", "[5s]").replace("[1h]", "[20s]"));
        }
    }
    text
}

#[test]
fn a_server_scrapes_the_broker_and_rules_fire_when_they_should() {
    let whole = Whole::start("prometheus");
    let admin = &whole.admin;
    leave_a_session(&admin.broker);
    let mut client = Client::connect(&admin.broker, b'a');
    let prometheus = Prometheus::start(&admin.address);
    prometheus.wait_for("DunlinCertificateEnds");
    // A night's run scrapes for as long as it is told to.
    let seconds = std::env::var("DUNLIN_TEST_SCRAPE_S").map_or(3, |text| text.parse().expect("a number of seconds"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        publish(&mut client, 1);
        std::thread::sleep(Duration::from_millis(20));
    }
    let window = seconds.saturating_sub(1).max(2);
    assert_eq!(prometheus.value(&format!("min_over_time(up[{window}s])")), Some(1.0), "each scrape succeeded");
    let scrapes = prometheus.value(&format!("count_over_time(up[{window}s])")).expect("there were some");
    assert!(scrapes >= 2.0, "{scrapes}");
    let took = prometheus.value(&format!("max_over_time(scrape_duration_seconds[{window}s])")).expect("it is measured");
    println!("{scrapes} scrapes in {window} s, the longest took {took} s");
    let rate = prometheus.value("sum(rate(dunlin_messages_received_total[5s]))").expect("messages are counted");
    assert!(rate > 0.5, "{rate} messages a second");
    prometheus.wait_for("DunlinMessagesDropped"); // the queue of who is away has room for one
    let firing = prometheus.firing();
    assert!(!firing.contains("DunlinDown") && !firing.contains("DunlinShardStalled"), "{firing:?}");
    drop((client, whole));
    prometheus.wait_for("DunlinDown");
}

#[test]
fn a_disk_that_fills_and_one_that_is_full_are_told() {
    const BYTES: u64 = 96 << 20;
    let path = std::env::temp_dir().join(format!("dunlin-filling-{}", std::process::id()));
    on_small_disk("monitoring::a_disk_that_fills_and_one_that_is_full_are_told", &path, BYTES, |disk| {
        let (data, free_space_min) = match disk {
            SmallDisk::Mounted => (path.join("data"), "0"),
            SmallDisk::Shared { free_space_min } => (path.clone(), free_space_min.as_str()),
        };
        let queues = "[session]\nmax_queued_messages = 1000000\nmax_queued_bytes = \"1GiB\"\n";
        let more = format!("[store]\nsegment_size = \"2MiB\"\nfree_space_min = \"{free_space_min}\"\n{queues}");
        let data_flags = ["--storage", "disk", "--data-dir", data.to_str().expect("UTF-8")];
        let admin = Admin::start_with_flags("filling", &more, &data_flags);
        let prometheus = Prometheus::start(&admin.address);
        if matches!(disk, SmallDisk::Mounted) {
            let is_scraped = || prometheus.value("dunlin_data_filesystem_size_bytes").is_some();
            let begun = Instant::now();
            while !is_scraped() {
                assert!(begun.elapsed() < LIMIT, "it is not scraped");
            }
            assert!(!prometheus.firing().contains("DunlinDiskFilling"), "most of it is free");
            let found = rustix::fs::statvfs(&path).expect("a file system");
            let filler = vec![7; (found.f_bavail * found.f_frsize - BYTES / 20) as usize];
            fs::write(path.join("filler"), filler).expect("there is room");
            prometheus.wait_for("DunlinDiskFilling");
        }
        assert!(!prometheus.firing().contains("DunlinDiskFull"), "there is room");
        leave_a_session(&admin.broker);
        let mut client = Client::connect(&admin.broker, b'a');
        let payload = vec![b'x'; 16_000];
        // A client of 3.1.1 is closed by what there is no room for.
        let taken = (1_u16..10_000).find(|number| {
            // PUBLISH of QoS 1: a length of two bytes (16,005), then topic and packet identifier.
            client.send(&[0x32, 0x85, 0x7d, 0, 1, b't']);
            client.send(&number.to_be_bytes());
            client.send(&payload);
            client.0.read_exact(&mut [0; 4]).is_err()
        });
        assert!(taken.is_some(), "the disk is not as small as it was to be");
        prometheus.wait_for("DunlinDiskFull");
        drop((client, prometheus, admin));
        let _ = fs::remove_dir_all(&data);
    });
    let _ = fs::remove_dir_all(&path);
}
