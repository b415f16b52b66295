//! OpenTelemetry as a collector meets it: what comes is decoded by the types of OTLP's authors. Clients are Mosquitto's.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::admin::{Admin, ask};
use crate::broker::{Broker, Client};

const LIMIT: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What a request to a collector has said.
struct Export {
    path: String,
    headers: BTreeMap<String, String>,
    /// What its resource says.
    resource: BTreeMap<String, String>,
    spans: Vec<Span>,
}

/// A collector that takes what comes, or answers with another status.
struct Collector {
    url: String,
    status: Arc<AtomicU16>,
    exports: Receiver<Export>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (status, (tell, exports)) = (Arc::new(AtomicU16::new(200)), channel());
        let answers = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tell, answers) = (tell.clone(), Arc::clone(&answers));
                std::thread::spawn(move || serve(stream, &tell, &answers));
            }
        });
        Self { url, status, exports }
    }

    /// Spans as they come, until this holds of all that have.
    fn spans_until(&self, is_enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut spans = Vec::new();
        while !is_enough(&spans) {
            let export = self.exports.recv_timeout(LIMIT);
            spans.extend(export.unwrap_or_else(|error| panic!("{error}: only {}", spans.len())).spans);
        }
        spans
    }
}

/// Requests of one connection.
fn serve(mut stream: TcpStream, tell: &Sender<Export>, status: &AtomicU16) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let headers: BTreeMap<String, String> = reader
            .by_ref()
            .lines()
            .map_while(|line| line.ok().filter(|line| !line.is_empty()))
            .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())))
            .collect();
        let mut body = vec![0; headers["content-length"].parse().expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        let status = status.load(Ordering::SeqCst);
        if status == 200 {
            let path = first.split(' ').nth(1).expect("a path").to_owned();
            let _ = tell.send(decode(path, headers, &body));
        }
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nContent-Type: application/x-protobuf\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn decode(path: String, headers: BTreeMap<String, String>, body: &[u8]) -> Export {
    let mut request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    assert_eq!(request.resource_spans.len(), 1, "{request:?}");
    let mut spans = request.resource_spans.remove(0);
    let resource = spans.resource.take().expect("a resource");
    assert_eq!(spans.scope_spans.len(), 1, "{spans:?}");
    Export { path, headers, resource: texts(&resource.attributes), spans: spans.scope_spans.remove(0).spans }
}

/// Attributes by name; numbers in decimal.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn count(spans: &[Span], name: &str) -> usize {
    spans.iter().filter(|span| span.name == name).count()
}

/// One of Mosquitto's programs, for MQTT 5.0.
fn mosquitto(program: &str, broker: &Broker, arguments: &[&str]) -> Command {
    let (host, port) = broker.addresses[0].rsplit_once(':').expect("an address has a port");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "timeout", "60", "stdbuf", "-oL", program, "-V", "5", "-h", host, "-p", port]);
    command.args(arguments);
    command
}

fn publish(broker: &Broker, arguments: &[&str]) {
    let status = mosquitto("mosquitto_pub", broker, arguments).status().expect("mosquitto-clients is there");
    assert!(status.success(), "{arguments:?}");
}

/// A subscriber, once it is one.
fn subscriber(broker: &Broker, arguments: &[&str]) -> Child {
    let mut child = mosquitto("mosquitto_sub", broker, arguments)
        .args(["-d", "-F", "%t %P"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto-clients is there");
    let mut byte = [0];
    let (mut said, out) = (Vec::new(), child.stdout.as_mut().expect("it is piped"));
    while !String::from_utf8_lossy(&said).contains("Subscribed") {
        assert_eq!(out.read(&mut byte).expect("its output"), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    child
}

#[test]
fn a_trace_goes_on_through_the_broker_across_shards_to_acknowledged_deliveries() {
    let collector = Collector::start();
    let file = format!("[otlp]\nendpoint = {:?}\nservice_name = \"plant-broker\"\nsample_ratio = 0\n", collector.url);
    let broker = Broker::start("otel-trace", &file);
    // On whichever shard they are: eight names are on both, but for one time in a hundred.
    let names: Vec<String> = (0..8).map(|number| format!("sub{number}")).collect();
    let mut subscribers: Vec<Child> =
        names.iter().map(|name| subscriber(&broker, &["-i", name, "-t", "plant/+", "-q", "1", "-C", "1"])).collect();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let properties = ["-D", "publish", "user-property", "traceparent", &parent, "-D", "publish", "user-property"];
    publish(
        &broker,
        &[&["-i", "pub", "-t", "plant/7", "-m", "hello", "-q", "2"], &properties[..], &["tracestate", "a=1"]].concat(),
    );
    let mut first = None;
    let enough = |spans: &[Span]| count(spans, "send") == 8 && count(spans, "receive") == 1;
    let export = collector.exports.recv_timeout(LIMIT).expect("a request");
    let mut spans = Vec::new();
    first.get_or_insert((export.path, export.headers, export.resource));
    spans.extend(export.spans);
    if !enough(&spans) {
        let have = spans.clone();
        spans.extend(collector.spans_until(|more| enough(&[&have, more].concat())));
    }
    let (path, headers, resource) = first.expect("the first");
    assert_eq!((&*path, &*headers["content-type"]), ("/v1/traces", "application/x-protobuf"));
    assert_eq!(
        (&*resource["service.name"], &*resource["service.version"]),
        ("plant-broker", env!("CARGO_PKG_VERSION"))
    );
    let receive = spans.iter().find(|span| span.name == "receive").expect("it was counted");
    assert_eq!(
        (hex(&receive.trace_id), hex(&receive.parent_span_id), &*receive.trace_state),
        (TRACE.into(), PARENT.into(), "a=1")
    );
    assert_eq!((receive.kind, receive.flags), (5, 0x301), "a consumer, whose parent is of another process");
    let said = texts(&receive.attributes);
    for (name, value) in [
        ("messaging.system", "mqtt"),
        ("messaging.operation.type", "receive"),
        ("messaging.destination.name", "plant/7"),
        ("messaging.client.id", "pub"),
        ("messaging.message.body.size", "5"),
        ("mqtt.qos", "2"),
        ("mqtt.reason_code", "0"),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    let mut shards = BTreeMap::<String, usize>::new();
    for span in spans.iter().filter(|span| span.name != "receive") {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&receive.trace_id, &receive.span_id), "{span:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        if span.name == "send" {
            let said = texts(&span.attributes);
            assert!(names.contains(&said["messaging.client.id"]) && said["mqtt.qos"] == "1", "{said:?}");
            *shards.entry(said["dunlin.shard"].clone()).or_default() += 1;
        }
    }
    assert_eq!(shards.len(), 2, "deliveries on both shards: {shards:?}");
    let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    assert!(now_ns.abs_diff(receive.end_time_unix_nano) < 60_000_000_000, "it is told in the wall clock's time");
    for child in &mut subscribers {
        let mut text = String::new();
        child.stdout.take().expect("it is piped").read_to_string(&mut text).expect("its output");
        child.wait().expect("it ends");
        assert!(text.contains(&format!("plant/7 traceparent:{parent} tracestate:a=1")), "unchanged: {text}");
    }
}

#[test]
fn a_ratio_is_sampled_and_a_reload_changes_who_is_told_and_how_much() {
    let (first, second) = (Collector::start(), Collector::start());
    let file = |url: &str, ratio: &str, more: &str| {
        format!("[otlp]\nendpoint = \"{url}/custom\"\nsample_ratio = {ratio}\n{more}")
    };
    let broker = Broker::start("otel-ratio", &file(&first.url, "1", ""));
    let mut client = Client::connect(&broker, b'a');
    let publish = |client: &mut Client, messages: usize| {
        client.0.write_all(&b"\x30\x04\0\x01xy".repeat(messages)).expect("it is sent");
        client.ping();
    };
    publish(&mut client, 20);
    let spans = first.spans_until(|spans| spans.len() >= 20);
    assert_eq!((spans.len(), count(&spans, "receive")), (20, 20));
    let traces: std::collections::BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert!(traces.len() == 20 && spans.iter().all(|span| span.parent_span_id.is_empty() && span.flags == 0x101));
    let headers = broker.directory.join("headers");
    std::fs::write(&headers, "Authorization: Bearer x\n").expect("a file");
    let more = format!("headers = {headers:?}\n");
    let told = broker.reload(&file(&second.url, "0.5", &more));
    assert!(told.iter().any(|line| line.contains("[otlp] sample_ratio")), "{told:?}");
    publish(&mut client, 200);
    let export = second.exports.recv_timeout(LIMIT).expect("a request");
    assert_eq!((&*export.path, &*export.headers["authorization"]), ("/custom", "Bearer x"));
    let told = broker.reload("[otlp]\nendpoint = \"none\"\n");
    assert!(told.last().is_some_and(|line| line.contains("config_reloaded")), "{told:?}");
    publish(&mut client, 200);
    // What was there when it was turned off has been told; then comes nothing more.
    let mut spans = export.spans.len();
    while let Ok(export) = second.exports.recv_timeout(Duration::from_secs(3)) {
        spans += export.spans.len();
    }
    assert!((60..140).contains(&spans), "{spans} of 200");
    assert!(first.exports.try_recv().is_err(), "it is told nothing more");
}

#[test]
fn a_collector_that_is_down_is_told_once_and_holds_nobody_up() {
    let collector = Collector::start();
    collector.status.store(503, Ordering::SeqCst);
    let admin = Admin::start("otel-down", &format!("[otlp]\nendpoint = {:?}\nsample_ratio = 1\n", collector.url));
    let mut client = Client::connect(&admin.broker, b'a');
    let publish = |client: &mut Client| {
        client.0.write_all(&b"\x30\x04\0\x01xy".repeat(100)).expect("it is sent");
        client.ping();
    };
    publish(&mut client);
    let lines = admin.broker.lines_to("spans_not_taken");
    assert!(lines.last().is_some_and(|line| line.contains("it answers 503")), "{lines:?}");
    publish(&mut client);
    collector.status.store(200, Ordering::SeqCst);
    let lines = admin.broker.lines_to("spans_taken");
    assert!(!lines.iter().any(|line| line.contains("spans_not_taken")), "once: {lines:?}");
    let spans = collector.spans_until(|spans| spans.len() >= 200);
    assert_eq!(spans.len(), 200, "what it did not take was sent again");
    let metrics = ask(&admin.address, &[], "GET", "/metrics", None).text;
    let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
    assert_eq!(value("dunlin_spans_exported_total").as_deref(), Some("200"), "{metrics}");
    assert_eq!(value("dunlin_spans_dropped_total{reason=\"no_room\"}").as_deref(), Some("0"));
    collector.status.store(400, Ordering::SeqCst);
    publish(&mut client);
    admin.broker.lines_to("spans_not_taken");
    let metrics = ask(&admin.address, &[], "GET", "/metrics", None).text;
    let lost = metrics.lines().find_map(|line| line.strip_prefix("dunlin_spans_dropped_total{reason=\"not_taken\"} "));
    assert!(lost.is_some_and(|lost| lost.parse::<u64>().is_ok()), "{metrics}");
}

#[test]
fn the_last_spans_are_told_when_the_broker_stops_and_without_a_collector_it_stops_all_the_same() {
    let collector = Collector::start();
    let mut broker = Broker::start("otel-stop", &format!("[otlp]\nendpoint = {:?}\nsample_ratio = 1\n", collector.url));
    let mut client = Client::connect(&broker, b'a');
    client.0.write_all(b"\x30\x04\0\x01xy").expect("it is sent");
    client.ping();
    broker.signal("TERM");
    assert!(broker.ended().success());
    assert_eq!(collector.spans_until(|spans| !spans.is_empty()).len(), 1);
    let mut broker = Broker::start("otel-stop2", "[otlp]\nendpoint = \"http://127.0.0.1:1\"\nsample_ratio = 1\n");
    let mut client = Client::connect(&broker, b'a');
    client.0.write_all(b"\x30\x04\0\x01xy").expect("it is sent");
    client.ping();
    broker.lines_to("spans_not_taken");
    broker.signal("TERM");
    assert!(broker.ended().success());
}
