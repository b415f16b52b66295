//! What clients publish is in the target in the end, though broker and target are killed while it is on its way.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;
use crate::foreign::ForeignServer;
use crate::{LIMIT, await_log, numbers};

fn start(data: &DataDirectory, target: &str) -> Broker {
    let sink = "[[sink]]\nname = \"readings\"\ntopics = [\"plant/#\"]\nbatch_messages = 20\nbatch_time = \"50ms\"\nformat = \"raw\"\n";
    let file = data.beside("lines", &format!("{sink}{target}"));
    Broker::start(data, &["--config", &file, "--shards", "2"])
}

/// What is published before a sink has subscribed is for others.
fn await_sink(broker: &Broker) {
    await_log(broker, "connector_connected kind=sink name=readings");
}

/// Publishes these numbers with QoS 1, and waits until each is acknowledged.
fn publish(broker: &Broker, numbers: std::ops::Range<usize>) {
    let mut client = Client::connect(broker.address, "publisher", true, None).expect("the broker lives");
    for number in numbers {
        let payload = format!("{{\"n\":{number}}}");
        client.publish_through(&format!("plant/{}", number % 5), payload.as_bytes(), 2, 1).expect("it is acknowledged");
    }
    client.disconnect();
}

/// Waits until the target has all of these.
fn await_all(expected: &BTreeSet<String>, broker: &Broker, mut found: impl FnMut() -> BTreeSet<String>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = found();
        if found == *expected {
            return;
        }
        let (has, of) = (found.len(), expected.len());
        assert!(Instant::now() < deadline, "{has} of {of} have come: {}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_table_has_each_row_once_though_broker_and_server_are_killed() {
    let (data, mut server) = (DataDirectory::new("sink-postgres"), ForeignServer::postgres(&[]));
    server.psql("dunlin", "CREATE TABLE readings (id text PRIMARY KEY, n int CHECK (n <> 77), topic text)");
    let target = format!(
        "[sink.postgres]\nhost = \"{}\"\nport = {}\ndatabase = \"dunlin\"\nusername = \"dunlin\"\ntable = \"readings\"\n\
         key = \"id\"\ntimeout = \"5s\"\n[sink.postgres.columns]\nid = \"id\"\nn = \"payload.n\"\ntopic = \"topic\"\n",
        server.folder.display(),
        server.port
    );
    let mut broker = start(&data, &target);
    await_sink(&broker);
    let mut dead = Client::connect(broker.address, "undertaker", false, None).expect("the broker lives");
    dead.subscribe("$dead/readings", 1).expect("it is allowed");
    publish(&broker, 0..200);
    broker.kill();
    server.kill();
    broker = start(&data, &target);
    publish(&broker, 200..400);
    server.kill_and_start_postgres();
    publish(&broker, 400..500);
    let expected: BTreeSet<String> =
        (0..500).filter(|number| *number != 77).map(|number: usize| number.to_string()).collect();
    let rows = || server.psql("dunlin", "SELECT n FROM readings").lines().map(str::to_owned).collect::<BTreeSet<_>>();
    await_all(&expected, &broker, rows);
    // What the table does not take is a dead letter, alone.
    let mut dead = Client::connect(broker.address, "undertaker", false, None).expect("the broker lives");
    let letter = dead.take(LIMIT).expect("the broker lives").expect("there is one");
    assert_eq!((letter.topic.as_str(), &*letter.payload), ("$dead/readings", &b"{\"n\":77}"[..]));
    broker.stop();
}

#[test]
fn a_stream_has_each_message_though_broker_and_server_are_killed() {
    let (data, mut server) = (DataDirectory::new("sink-nats"), ForeignServer::nats());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config =
        stream::Config { name: "PLANT".to_owned(), subjects: vec!["plant.>".to_owned()], ..stream::Config::default() };
    let address = server.port.address().to_string();
    runtime.block_on(async {
        let client = async_nats::connect(address.clone()).await.expect("NATS");
        jetstream::new(client).create_stream(config).await.expect("a stream");
    });
    let target = format!("[sink.nats]\nservers = \"{address}\"\ntimeout = \"3s\"\n");
    let mut broker = start(&data, &target);
    await_sink(&broker);
    publish(&broker, 0..200);
    broker.kill();
    server.kill();
    broker = start(&data, &target);
    publish(&broker, 200..300);
    server.kill_and_start_nats();
    await_all(&numbers(300), &broker, || runtime.block_on(payloads(&address)));
    broker.stop();
}

/// The numbers that the stream holds.
async fn payloads(address: &str) -> BTreeSet<String> {
    let client = async_nats::connect(address).await.expect("NATS");
    let mut found = BTreeSet::new();
    let Ok(mut stream) = jetstream::new(client).get_stream("PLANT").await else { return found };
    let last = stream.info().await.map_or(0, |info| info.state.last_sequence);
    for sequence in 1..=last {
        let stored = stream.get_raw_message(sequence).await.expect("it is there");
        let text = String::from_utf8(stored.payload.to_vec()).expect("text");
        found.insert(text.trim_start_matches("{\"n\":").trim_end_matches('}').to_owned());
    }
    found
}

#[test]
fn files_of_parquet_have_each_message_though_the_broker_is_killed() {
    let (data, folder) = (DataDirectory::new("sink-parquet"), DataDirectory::new("sink-parquet-files"));
    fs::create_dir(folder.path()).expect("a folder");
    let target = format!(
        "[sink.parquet]\nfolder = \"{}\"\n[sink.parquet.columns]\nid = \"text: id\"\nn = \"integer: payload.n\"\n",
        folder.path().display()
    );
    let mut broker = start(&data, &target);
    await_sink(&broker);
    for part in 0..4 {
        publish(&broker, part * 50..part * 50 + 50);
        broker.kill();
        broker = start(&data, &target);
    }
    await_all(&numbers(200), &broker, || column_n(folder.path()));
    broker.stop();
    let names = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "a half-written file was left");
}

/// The numbers in all files, as DuckDB reads them.
fn column_n(folder: &Path) -> BTreeSet<String> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let program = "import sys, glob, duckdb\nfiles = glob.glob(sys.argv[1] + '/*.parquet')\nif files:\n  \
        for row in duckdb.sql(f'SELECT DISTINCT n FROM read_parquet({files})').fetchall(): print(row[0])";
    let output = Command::new(python).args(["-c", program]).arg(folder).output().expect("scripts/test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
