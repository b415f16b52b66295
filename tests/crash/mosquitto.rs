//! What Debian's Mosquitto has kept comes over: `dunlin store import DIR < mosquitto.db`.
//!
//! `DUNLIN_KEEP_MOSQUITTO_DB` names a file that the one made here is copied to: `src/store/mosquitto_db/real-v6.db` is such a one.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Received};
use crate::ports::Port;

/// Mosquitto, with persistence, killed when it is dropped.
struct Mosquitto {
    child: Child,
    address: SocketAddr,
    _port: Port,
    folder: PathBuf,
}

impl Mosquitto {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dunlin-mosquitto-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder");
        let port = Port::claim();
        let address = port.address();
        let config = folder.join("mosquitto.conf");
        let place = folder.display();
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {place}/\nuser root\n\
             queue_qos0_messages true\n",
            address.port()
        );
        fs::write(&config, text).expect("a configuration");
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|path| fs::exists(path).is_ok_and(|is_there| is_there));
        let program = program.expect("scripts/test installs mosquitto");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program, "-c"]).arg(&config).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mosquitto runs");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address, _port: port, folder }
    }

    /// Runs one of Mosquitto's clients to its end.
    fn client(&self, program: &str, arguments: &str) {
        let mut command = Command::new(program);
        command.args(["-p", &self.address.port().to_string()]).args(arguments.split_whitespace());
        let output = command.output().expect("mosquitto-clients are installed");
        // One that is to go after so many seconds says that it has waited for nothing.
        assert!(matches!(output.status.code(), Some(0 | 27)), "{program} {arguments}: {output:?}");
    }

    /// Stops it, which makes it write its file; gives that.
    fn stop(&mut self) -> PathBuf {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
        self.child.wait().expect("it ends");
        self.folder.join("mosquitto.db")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The next PUBLISH, unacknowledged.
fn next_publish(client: &mut Client) -> Publish {
    loop {
        match client.next(PATIENCE).expect("it is there").expect("something comes") {
            Received::Publish(publish) => return publish,
            Received::Answer(..) => {}
        }
    }
}

/// Sessions in every state that Mosquitto writes down, and retained messages.
fn fill(mosquitto: &Mosquitto) {
    let publish = |arguments: &str| mosquitto.client("mosquitto_pub", arguments);
    let offline = "-V 5 -c -i offline -u ann -x 86400 -t kept/# -q 2 -W 1 -D subscribe subscription-identifier 7";
    mosquitto.client("mosquitto_sub", offline);
    take_by_halves(mosquitto);
    // One that has sent a message and not released it.
    let mut sender = Client::connect(mosquitto.address, "half-sent", false, None).expect("mosquitto is there");
    sender.publish("kept/half", b"half", 4, 21).expect("mosquitto is there");
    assert!(matches!(sender.next(PATIENCE), Ok(Some(Received::Answer(PUBREC, 21, _)))));
    drop(sender);
    for number in 0..5 {
        publish(&format!("-t kept/{number} -q {} -m message-{number} -i a-publisher", number % 3));
    }
    publish("-t retained/one -q 1 -r -m stays");
    publish("-t retained/gone -q 1 -r -m goes");
    publish("-t retained/gone -q 1 -r -n");
    publish(
        "-V 5 -t retained/properties -q 1 -r -m has-some -D publish content-type text/plain -D publish user-property name value \
         -D publish message-expiry-interval 100000",
    );
}

/// Two that have got messages, and answered none of them to the end.
fn take_by_halves(mosquitto: &Mosquitto) {
    let connect = |id: &str| Client::connect(mosquitto.address, id, false, None).expect("mosquitto is there");
    let mut reader = connect("reader");
    reader.subscribe("read/#", 2).expect("mosquitto is there");
    let mut released = connect("released");
    released.subscribe("released", 2).expect("mosquitto is there");
    mosquitto.client("mosquitto_pub", "-t released -q 2 -m three");
    let message = next_publish(&mut released);
    released.answer(PUBREC, message.packet_id).expect("mosquitto is there");
    assert!(matches!(released.next(PATIENCE), Ok(Some(Received::Answer(PUBREL, ..)))));
    mosquitto.client("mosquitto_pub", "-t read/1 -q 1 -m one");
    mosquitto.client("mosquitto_pub", "-t read/2 -q 2 -m two");
    let both = [next_publish(&mut reader), next_publish(&mut reader)];
    assert_eq!(both.map(|publish| publish.qos), [1, 2]);
}

fn import(file: &PathBuf, data: &DataDirectory) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let command =
        command.args(["store", "import"]).arg(data.path()).stdin(File::open(file).expect("mosquitto has written it"));
    command.output().expect("the binary runs")
}

fn payloads(client: &mut Client) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(publish) = client.take(Duration::from_secs(1)).expect("the broker is there") {
        found.push(format!("{} {} {}", publish.topic, publish.qos, String::from_utf8_lossy(&publish.payload)));
    }
    found
}

#[test]
fn everything_that_mosquitto_has_kept_comes_over() {
    let mut mosquitto = Mosquitto::start("import");
    fill(&mosquitto);
    let file = mosquitto.stop();
    if let Some(place) = std::env::var_os("DUNLIN_KEEP_MOSQUITTO_DB") {
        fs::copy(&file, place).expect("a copy");
    }
    let data = DataDirectory::new("from-mosquitto");
    let output = import(&file, &data);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let told: Vec<&str> = told.lines().collect();
    let left_out = ["kept/0", "kept/3"]
        .map(|topic| format!("dunlin: not imported: a message on {topic:?} for \"offline\": it is of QoS 0"));
    assert!(told[0].starts_with("dunlin: not imported: whose the sessions are: "), "{told:?}");
    assert_eq!(told[1..], left_out, "nothing else is left out");
    let broker = Broker::start(&data, &["--shards", "2"]);
    let connect = |id: &str| {
        let client = Client::connect(broker.address, id, false, None).expect("the broker is there");
        assert!(client.session_present, "{id}");
        client
    };
    let mut offline = connect("offline");
    let mut found = payloads(&mut offline);
    found.sort_unstable();
    assert_eq!(found, ["kept/1 1 message-1", "kept/2 2 message-2", "kept/4 1 message-4", "kept/half 2 half"]);
    // It is subscribed as before.
    let mut writer = Client::connect(broker.address, "writer", true, None).expect("the broker is there");
    writer.publish_through("kept/new", b"new", 4, 5).expect("the broker is there");
    assert_eq!(payloads(&mut offline), ["kept/new 2 new"]);
    let mut reader = connect("reader");
    let both = [next_publish(&mut reader), next_publish(&mut reader)];
    assert_eq!(
        both.clone().map(|publish| (publish.payload, publish.dup)),
        [(b"one".to_vec(), true), (b"two".to_vec(), true)]
    );
    reader
        .answer(PUBACK, both[0].packet_id)
        .and_then(|()| reader.answer(PUBREC, both[1].packet_id))
        .expect("the broker is there");
    assert!(matches!(reader.next(PATIENCE), Ok(Some(Received::Answer(PUBREL, ..)))));
    let mut released = connect("released");
    let Ok(Some(Received::Answer(PUBREL, id, _))) = released.next(PATIENCE) else { panic!("PUBREL comes again") };
    released.answer(PUBCOMP, id).expect("the broker is there");
    assert_eq!(payloads(&mut released), Vec::<String>::new(), "it had the message");
    // What was sent by halves is known: the repetition is not delivered a second time.
    let mut sender = connect("half-sent");
    sender.publish("kept/half", b"half", 0xc, 21).expect("the broker is there");
    sender.await_answer(PUBREC, 21).expect("it is known");
    sender.answer(PUBREL, 21).expect("the broker is there");
    sender.await_answer(PUBCOMP, 21).expect("it is completed");
    assert_eq!(payloads(&mut offline), Vec::<String>::new());
    writer.subscribe("retained/#", 1).expect("the broker is there");
    let mut found = payloads(&mut writer);
    found.sort_unstable();
    assert_eq!(found, ["retained/one 1 stays", "retained/properties 1 has-some"]);
    drop(broker);
    let exported = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["store", "export"])
        .arg(data.path())
        .output()
        .expect("the binary runs");
    let exported = String::from_utf8_lossy(&exported.stdout).into_owned();
    let line = exported.lines().find(|line| line.contains("retained/properties")).expect("it is there");
    assert!(line.contains("properties_base64") && line.contains("expires_unix_ms\":1"), "{line}");
}

#[test]
fn a_shared_subscription_that_mosquitto_does_not_write_down_is_told() {
    let mut mosquitto = Mosquitto::start("shared");
    mosquitto.client("mosquitto_sub", "-V 5 -c -i worker -x 86400 -t $share/group/work/# -q 1 -W 1");
    mosquitto.client("mosquitto_pub", "-t work/1 -q 1 -m job");
    let file = mosquitto.stop();
    let data = DataDirectory::new("from-mosquitto-shared");
    let output = import(&file, &data);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("not imported: subscriptions of \"worker\": there are none in the file"), "{told}");
    let broker = Broker::start(&data, &["--shards", "1"]);
    let mut worker = Client::connect(broker.address, "worker", false, None).expect("the broker is there");
    assert!(worker.session_present);
    assert_eq!(payloads(&mut worker), ["work/1 1 job"], "what was queued has come over");
}

#[test]
fn a_file_that_is_damaged_or_of_another_kind_is_told_in_a_line() {
    let data = DataDirectory::new("from-nothing");
    let path = data.path().with_extension("lines");
    for (bytes, words) in [
        (&b"\0\xb5\0mosquitto d"[..], "it is no mosquitto.db"),
        (b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\x04", "it is of version 4"),
        (
            b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\x06\0\0\0\x04\0\0\0\x09",
            "at byte 23: the file ends before a chunk does",
        ),
    ] {
        fs::write(&path, bytes).expect("a file");
        let output = import(&path, &data);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), error.lines().count()), (Some(71), 1), "{error}");
        assert!(error.contains("the mosquitto.db cannot be read: ") && error.contains(words), "{error}");
        assert!(!data.path().exists(), "{error}");
    }
}
