//! What the built binary says of a run beside its figures: refusals, interruptions, payloads of one's own, two reports
//! compared, and the page that Prometheus reads.

#[path = "support/binary.rs"]
#[allow(dead_code)] // each test binary asks of it what it needs
mod binary;
#[path = "support/liar.rs"]
#[allow(dead_code)] // each test binary tells lies of its own
mod liar;

use std::io::{BufRead as _, BufReader};

use binary::{Running, Scratch, command, loadtest, status, text};
use dunlin::codec::ReasonCode;
use liar::{Liar, Lie};
use loadtest::{machine::prometheus, outcome::Outcome};

#[test]
fn a_broker_that_refuses_is_no_success() {
    let refused = ReasonCode::NotAuthorized;
    let publish = "pub -t bench/%i -c 3 -R 0 -L 30 -I 10 -q 1 -s 32";
    for (lie, line, told) in [
        (Lie::RefuseMessages(refused), publish, "FAILED: the broker refused 30 messages (30 PUBACK not authorized)"),
        (
            Lie::RefuseSubscriptions(refused),
            "sub -t a/# -c 3 -R 0 -D 500ms",
            "3 subscriptions (3 SUBACK not authorized)",
        ),
        (Lie::HangUp(5), publish, "connections were lost: "),
        // QoS 0 has no acknowledgement: that the broker hangs up is all that can be seen of it.
        (Lie::HangUp(5), "pub -t bench/%i -c 3 -R 0 -L 30 -I 10 -s 32", "connections were lost: "),
    ] {
        let liar = Liar::start(lie);
        let port = liar.address.port().to_string();
        let mut command = command(line);
        command.args(["-p", &port, "--quiet", "--fail-if", "refused>0"]);
        let output = command.output().expect("loadtest runs");
        let summary = text(&output.stdout);
        assert_eq!(status(&output), 1, "{line}: {summary}{}", text(&output.stderr));
        assert!(summary.contains(told), "{line}: {summary}");
        assert!(summary.contains("FAILED: refused ") && summary.contains(" (fails above 0)"), "{line}: {summary}");
        assert!(!summary.contains("\nOK"), "{line}: {summary}");
    }
}

#[test]
fn a_run_that_connects_nobody_says_so() {
    let scratch = Scratch::new("nobody");
    let file = scratch.path("nobody.toml");
    let scenario = r#"
        [[group]]
        name = "pub"
        clients = 2
        publish = { topic = "s/%i", rate = 100 }
        [[stage]]
        do = "hold"
        for = "500ms"
        publish = ["pub"]
    "#;
    std::fs::write(&file, scenario).expect("a file");
    let output = loadtest(&format!("run {file} -p {} --quiet", Liar::start(Lie::None).address.port()));
    let summary = text(&output.stdout);
    assert_eq!(status(&output), 1, "{summary}");
    assert!(summary.contains("FAILED: no client was connected: no stage of the run connects any"), "{summary}");
    assert!(!summary.contains("a window was full"), "{summary}");
}

#[test]
fn a_page_of_a_run_that_was_interrupted_promises_nothing() {
    let scratch = Scratch::new("interrupted");
    let html = scratch.path("o.html");
    let liar = Liar::start(Lie::None);
    let line = format!("quick --clients 4 --rate 200 -d 100s -p {} --html {html}", liar.address.port());
    let mut running = Running::start(&line);
    running.wait_for("measure").expect("it measures");
    running.signal("-INT");
    let (status, summary) = running.finish();
    assert_eq!(status, 0, "{summary}");
    let page = std::fs::read_to_string(&html).expect("a page");
    assert!(page.contains("\"state\":\"warn\"") && page.contains("\"verdict\":\"interrupted\""));
    assert!(page.contains("the run was interrupted after ") && !page.contains("every promise kept"));
}

#[test]
fn a_run_of_less_than_a_second_has_points_to_plot() {
    let scratch = Scratch::new("short");
    let html = scratch.path("o.html");
    let liar = Liar::start(Lie::None);
    let line =
        format!("pub -t a/%i -c 4 -R 0 -I 10 -D 400ms -q 1 -p {} --html {html} --quiet -o -", liar.address.port());
    let outcome: Outcome = serde_json::from_slice(&loadtest(&line).stdout).expect("JSON");
    assert!(
        outcome.duration_s < 3.0 && outcome.tenths.len() >= 4,
        "{} s: {}",
        outcome.duration_s,
        outcome.tenths.len()
    );
    let sent: u64 = outcome.tenths.iter().map(|tenth| tenth.traffic.messages_sent).sum();
    assert_eq!(sent, outcome.traffic.messages_sent, "every message is in one tenth");
    let page = std::fs::read_to_string(&html).expect("a page");
    assert!(page.matches("\"generator_cpu\"").count() >= 4, "as many points as tenths");
}

#[test]
fn messages_say_what_the_user_wants_them_to() {
    let scratch = Scratch::new("messages");
    let [template, file] = ["m.json", "b.bin"].map(|name| scratch.path(name));
    std::fs::write(&template, r#"{"n":%s,"stamp":"%m"}"#).expect("a file");
    std::fs::write(&file, [0xff; 5_000]).expect("a file");
    let liar = Liar::start(Lie::None);
    for content in [format!("-m template://{template}"), "-m hello-%i".to_owned(), format!("--payload-file {file}")] {
        let line =
            format!("pub -t a/%i/%s -c 2 -R 0 -L 20 -I 10 -q 1 {content} -p {} --quiet -o -", liar.address.port());
        let output = loadtest(&line);
        let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((status(&output), outcome.verdict.messages[1].acknowledged), (0, 20), "{content}");
        let is_long = outcome.traffic.bytes_sent > 20 * 5_000;
        assert_eq!(is_long, content.contains("b.bin"), "{content}: {} bytes", outcome.traffic.bytes_sent);
    }
    let output = loadtest(&format!("pub -t a --payload-file {}", scratch.path("none")));
    assert_eq!(status(&output), 2);
    assert!(text(&output.stderr).contains("--payload-file ") && text(&output.stderr).contains("No such file"));
}

#[test]
fn two_reports_are_put_side_by_side() {
    let scratch = Scratch::new("compare");
    let [a, b] = ["a.json", "b.json"].map(|name| scratch.path(name));
    let liar = Liar::start(Lie::None);
    for file in [&a, &b] {
        let line = format!("quick --clients 4 --rate 200 -d 500ms -p {} --quiet -o {file}", liar.address.port());
        assert_eq!(status(&loadtest(&line)), 0);
    }
    let output = loadtest(&format!("compare {a} {b}"));
    let told = text(&output.stdout);
    assert_eq!(status(&output), 0, "{told}");
    for part in ["delivery p99 ", "messages lost", "connections "] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let lossy = scratch.path("lossy.json");
    let mut outcome: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&b).expect("b")).expect("JSON");
    outcome["verdict"]["deliveries"][1]["received"] = 1.into();
    std::fs::write(&lossy, outcome.to_string()).expect("a file");
    let output = loadtest(&format!("compare {a} {lossy} --fail-if-worse 1000%"));
    assert_eq!(status(&output), 1, "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("FAILED: messages lost is worse: 0 became "), "{}", text(&output.stdout));
    std::fs::write(&lossy, "{}").expect("a file");
    let output = loadtest(&format!("compare {a} {lossy}"));
    assert_eq!(status(&output), 2);
    assert!(text(&output.stderr).contains("lossy.json: this is no report of loadtest"), "{}", text(&output.stderr));
}

#[test]
fn a_run_can_be_scraped_while_it_goes_on() {
    let liar = Liar::start(Lie::None);
    let line = format!("quick --clients 4 --rate 200 -d 100s -p {} --metrics-listen 127.0.0.1:0", liar.address.port());
    let mut running = Running::start(&line);
    let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let first = lines.find_map(|line| line.strip_prefix("metrics at ").map(str::to_owned)).expect("it says where");
    let address = prometheus::Address::parse(&first).expect("an address");
    lines.find(|line| line.contains("measure")).expect("it measures");
    let page = address.fetch().expect("a page");
    let of = |metric: &str| prometheus::sum(&page, metric).unwrap_or_else(|| panic!("{metric} in {page}"));
    assert_eq!((of("loadtest_connections"), of("loadtest_connections_established_total")), (8.0, 8.0));
    assert!(of("loadtest_messages_received_total") > 50.0 && of("loadtest_latency_seconds") > 0.0, "{page}");
    running.signal("-INT");
    // Its end is no concern of this test; what it says must not block it.
    let reading = std::thread::spawn(move || lines.count());
    assert!(running.0.wait().expect("it ends").success());
    reading.join().expect("read to the end");
    let output = loadtest("quick --metrics-listen 127.0.0.1 --quiet");
    assert_eq!(status(&output), 2);
    assert!(text(&output.stderr).contains("'--metrics-listen <ADDR:PORT>': write ADDRESS:PORT"));
}
