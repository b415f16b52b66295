//! `dunlin store check`, `export`, `import` and `backup` on directories that were made up, whole and damaged.

#![cfg(feature = "runtime")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use dunlin::auth::acl::{Actions, Permission, RuleSet};
use dunlin::ids::{NameKey, PacketId, Qos, SessionId, ShardId, SubscriptionId};
use dunlin::runtime::disk::{Access, Directory, FoundManifest, make_segment};
use dunlin::store::format::{
    ForwardTarget, InboxCount, ListOf, LogId, LogRecord, Manifest, MessageId, MessageRecord, NewestSegment,
    QueuedRecord, SegmentNumber, SessionOwner, StoreFile, WriteStamp,
};
use dunlin::store::{LogConfig, LogEnd, RecordGroup, RecordWriter, Urgency};
use dunlin::time::{Now, Timestamp};
use serde_json::Value;

const NODE: [u8; 16] = *b"node of the test";
const SEGMENT_BYTES: u64 = 256 * 1024;

/// A data directory of this test's own, removed at its end.
struct Data(PathBuf);

impl Data {
    /// Two logs with a session each, a retained message, and a message on its way from the first to the second.
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dunlin-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = Directory::open(&path, Access::Write).expect("a directory");
        directory.write_manifest(&manifest()).expect("a manifest");
        for shard in 0..2 {
            let log = LogId { generation: 1, shard: ShardId(shard) };
            directory.make_log(log).expect("a folder");
            write_log(&directory, log);
        }
        release(directory);
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    fn segment(&self, shard: u8) -> PathBuf {
        let log = LogId { generation: 1, shard: ShardId(shard) };
        self.0.join(StoreFile::Segment(log, SegmentNumber(1)).to_string())
    }

    /// Changes a byte of a segment.
    fn damage(&self, shard: u8, offset: u64) {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.segment(shard)).expect("a segment");
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("a byte");
        file.write_all_at(&[byte[0] ^ 1], offset).expect("a byte");
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn manifest() -> Manifest {
    Manifest {
        node: NODE,
        node_name: "test-node".into(),
        made: Timestamp(1_800_000_000_000),
        generation: 1,
        shards: 2,
        epoch: 1,
        names: NameKey { first: 1, second: 2 },
        last_stamp_ns: 0,
        segment_bytes: SEGMENT_BYTES,
    }
}

/// Groups of records, each of which becomes a batch.
fn write_log(directory: &Directory, log: LogId) {
    let config = LogConfig { node: NODE, log, epoch: 1, segment_bytes: SEGMENT_BYTES, batch_max_bytes: 64 * 1024 };
    let mut writer = RecordWriter::new(config, LogEnd::default());
    let number = writer.next_to_prepare().expect("one is needed");
    let path = directory.path_of(StoreFile::Segment(log, number));
    make_segment(&path, None, SEGMENT_BYTES).expect("a segment");
    writer.segment_prepared(number);
    let session = SessionId(7);
    let client_id = format!("client-{}", log.shard.0);
    let at = Timestamp(1_800_000_000_000);
    let identifier = SubscriptionId::new(9);
    let message = |id, payload: &'static [u8]| LogRecord::Message(plain_message(id, payload));
    let queued = |message, packet_id| queued(session, MessageId(message), packet_id);
    let to = ShardId(1 - log.shard.0);
    let rules = own_rules();
    let owner = SessionOwner {
        user: Some("ann"),
        listener: "public",
        peer: Some([192, 0, 2, 7].into()),
        is_superuser: false,
        asks_back_end: true,
        rules: Some(&rules),
    };
    let groups: [Vec<LogRecord<'_>>; 4] = [
        vec![
            LogRecord::SessionBegun { session, client_id: &client_id, expiry_s: 3_600, at },
            LogRecord::Subscribed { session, filter: "a/#", options: 0x1e, identifier },
        ],
        vec![message(3, b"text"), queued(3, PacketId::new(77)), message(5, b"\xff\xfe"), queued(5, None)],
        vec![
            message(7, b"kept"),
            LogRecord::Retained {
                topic: "a/b",
                stamp: WriteStamp { time_ns: 5, shard: 0 },
                message: Some(MessageId(7)),
            },
            message(9, b"forwarded"),
            LogRecord::Forward(ForwardTarget {
                to,
                number: 1,
                message: MessageId(9),
                plain: true,
                retained: None,
                groups: ListOf::Values(&[]),
            }),
        ],
        vec![
            LogRecord::Disconnected { session, at: Timestamp(at.0 + 1) },
            LogRecord::SessionOwner { session, owner, keeps_filters: false },
            LogRecord::FilterDecided { session, filter: "a/#", is_allowed: true },
        ],
    ];
    // The second log has taken over what the first sent to it.
    let inbox = [InboxCount { from: to, number: 1 }];
    let file = fs::OpenOptions::new().write(true).open(&path).expect("a segment");
    for records in groups {
        let mut bytes = Vec::new();
        for (base, record) in (writer.appended() + 1..).zip(&records) {
            record.encode(base, &mut bytes);
        }
        let now = Now { mono_ns: 1, unix_ms: at.0 };
        let inbox = if log.shard.0 == 1 { &inbox[..] } else { &[] };
        let count = records.len() as u32;
        writer.append(now, RecordGroup { records: &bytes, count, inbox, urgency: Urgency::Awaited });
        let write = writer.next_write(now).expect("somebody waits");
        let len = write.range.len();
        file.write_all_at(&write.bytes[write.range], write.offset).expect("written");
        writer.written(write.bytes, Ok(len)).expect("all of it");
    }
}

fn own_rules() -> Vec<u8> {
    let rule = Permission::of_text(true, Actions::Subscribe, "dev/%c/#").expect("a topic");
    RuleSet::of_one_client(vec![rule]).to_bytes()
}

fn plain_message(id: u64, payload: &[u8]) -> MessageRecord<'_> {
    MessageRecord {
        id: MessageId(id),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires: None,
        publisher: None,
        topic: "a/b",
        properties: &[],
        properties_bytes: 0,
        payload,
        later_bytes: 0,
    }
}

fn queued(session: SessionId, message: MessageId, packet_id: Option<PacketId>) -> LogRecord<'static> {
    let ids = ListOf::Values(&[]);
    LogRecord::Queued(QueuedRecord {
        session,
        message,
        qos: Qos::AtLeastOnce,
        retain: false,
        packet_id,
        group: None,
        ids,
    })
}

/// Held while a process begins: until it is another program, it has every lock that a test here has.
static BEGINNING: Mutex<()> = Mutex::new(());

fn begin(command: &mut Command) -> Child {
    let _alone = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

/// Nobody has the directory any more, not even a process that a test beside this one begins.
fn release(directory: Directory) {
    let _alone = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
    drop(directory);
}

fn dunlin(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    begin(command.args(arguments).stdin(Stdio::null())).wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[track_caller]
fn refused(arguments: &[&str], words: &str) {
    let output = dunlin(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(71), "{error}");
    assert!(error.contains(words) && error.lines().count() == 1, "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_directory_that_is_whole_is_shown_and_called_so() {
    let data = Data::new("whole");
    let output = dunlin(&["store", "check", data.path()]);
    let shown = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{shown}");
    assert!(shown.contains("node \"test-node\", 2 shards") && shown.contains("everything is whole"), "{shown}");
    assert!(
        shown.contains("together: 2 sessions, 2 subscriptions, 4 messages queued or in flight, 2 retained"),
        "{shown}"
    );
    assert!(shown.contains("log-1-0: 1 segments with 13 records up to 13, no checkpoint"), "{shown}");
}

#[test]
fn an_export_has_everything_and_each_line_is_json() {
    let data = Data::new("export");
    let output = dunlin(&["store", "export", data.path()]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((lines[0]["kind"].as_str(), lines[0]["shards"].as_u64()), (Some("directory"), Some(2)));
    assert_eq!(lines.last().expect("there are some")["kind"], "end");
    let sessions = of("session");
    assert_eq!(
        sessions.iter().map(|line| line["client_id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["client-0", "client-1"]
    );
    assert_eq!(sessions[0]["disconnected_unix_ms"], 1_800_000_000_001_u64);
    let owner = of("owner")[1];
    let told = ["client_id", "user", "listener", "peer"].map(|name| owner[name].as_str().unwrap_or_default());
    assert_eq!(told, ["client-1", "ann", "public", "192.0.2.7"]);
    assert_eq!((&owner["superuser"], &owner["back_end"]), (&Value::from(false), &Value::from(true)));
    assert_eq!(
        owner["rules"],
        serde_json::json!([{"permission": "allow", "action": "subscribe", "topic": "dev/%c/#"}])
    );
    assert_eq!(of("allowed_filter")[0]["filter"], "a/#");
    let subscription = of("subscription")[0];
    assert_eq!((&subscription["filter"], &subscription["qos"]), (&Value::from("a/#"), &Value::from(2)));
    assert_eq!((&subscription["no_local"], &subscription["retain_handling"]), (&Value::from(true), &Value::from(1)));
    let deliveries = of("delivery");
    assert_eq!(deliveries.len(), 4);
    assert_eq!((&deliveries[0]["state"], &deliveries[0]["packet_id"]), (&Value::from("sent"), &Value::from(77)));
    assert_eq!(
        (&deliveries[0]["payload"], &deliveries[1]["payload_base64"]),
        (&Value::from("text"), &Value::from("//4="))
    );
    assert_eq!(of("retained")[0]["payload"], "kept");
    let forwards = of("forward");
    assert_eq!(forwards.len(), 1, "what the other log has taken over is not on its way");
    assert_eq!((&forwards[0]["from_shard"], &forwards[0]["payload"]), (&Value::from(1), &Value::from("forwarded")));
}

/// Runs `dunlin store import` with these lines on its standard input.
fn import(lines: &str, path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let mut child = begin(command.args(["store", "import"]).arg(path).stdin(Stdio::piped()));
    // One that ends early does not take all of it.
    let _ = child.stdin.take().expect("it is piped").write_all(lines.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    // Both logs have the same retained message, of which one is enough.
    lines.dedup();
    lines
}

#[test]
fn what_was_exported_can_be_imported_and_is_the_same() {
    let data = Data::new("import-from");
    let exported = dunlin(&["store", "export", data.path()]);
    let exported = text(&exported.stdout);
    let copy = Data(std::env::temp_dir().join(format!("dunlin-store-import-to-{}", std::process::id())));
    let _ = fs::remove_dir_all(&copy.0);
    let output = import(exported, &copy.0);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let again = dunlin(&["store", "export", copy.path()]);
    assert_eq!(sorted(text(&again.stdout)), sorted(exported));
    let checked = dunlin(&["store", "check", copy.path()]);
    assert!(text(&checked.stdout).contains("everything is whole"), "{checked:?}");
    let output = import(exported, &copy.0);
    assert_eq!(output.status.code(), Some(71));
    assert!(text(&output.stderr).contains("has data already"), "{output:?}");
}

#[test]
fn a_line_that_cannot_be_imported_is_named_and_leaves_no_data_directory() {
    let first = r#"{"kind":"directory","format":2,"node_name":"n","shards":1,"made_unix_ms":1}"#;
    let session = r#"{"kind":"session","client_id":"c","expiry_s":9,"begun_unix_ms":1,"disconnected_unix_ms":null}"#;
    let message = r#""topic":"t","published_qos":1,"payload":"m""#;
    for (lines, told) in [
        (String::new(), "the export is empty"),
        ("{".into(), "line 1: it is no JSON"),
        (session.into(), "line 1: the first line of an export is of kind"),
        (first.replace("\"format\":2", "\"format\":9"), "line 1: it is of a newer format"),
        (format!("{first}\n{{\"kind\":\"session\"}}"), "line 2: \"client_id\" is missing or is not a text"),
        (
            format!("{first}\n{session}\n{{\"kind\":\"subscription\",\"client_id\":\"d\"}}"),
            "line 3: it stands behind no line of",
        ),
        (format!("{first}\n{session}\n{{\"kind\":\"subscr"), "line 3: it is no JSON"),
        (format!("{first}\n{session}\n"), "the export was cut off"),
        (format!("{first}\n{{\"kind\":\"end\"}}\n{session}"), "line 3: it stands behind the line of kind \"end\""),
        (first.replace("\"shards\":1", "\"shards\":0"), "line 1: \"shards\" is 0"),
        (format!("{first}\n{session}\n{{\"kind\":\"wish\",\"client_id\":\"c\"}}"), "line 3: nothing of kind \"wish\""),
        (
            format!("{first}\n\n{{\"kind\":\"retained\",\"retained_topic\":\"a/#\",\"stamp_ns\":1,{message}}}"),
            "line 3: \"a/#\" is no topic",
        ),
        (
            format!(
                "{first}\n{{\"kind\":\"retained\",\"retained_topic\":\"a\",\"stamp_ns\":1,\"properties_base64\":\"/w==\",{message}}}"
            ),
            "line 2: \"properties_base64\" is no list of properties",
        ),
    ] {
        let copy = Data(std::env::temp_dir().join(format!("dunlin-store-import-bad-{}", std::process::id())));
        let _ = fs::remove_dir_all(&copy.0);
        let output = import(&lines, &copy.0);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{error}");
        assert!(error.contains(told) && error.lines().count() == 1, "{told}: {error}");
        assert!(!copy.0.exists(), "{told}");
        // One that was there stays, with nothing new in it but the lock.
        fs::create_dir(&copy.0).expect("it is not there");
        assert_eq!(import(&lines, &copy.0).status.code(), Some(71));
        let left: Vec<_> = fs::read_dir(&copy.0).expect("it was made above").flatten().collect();
        assert!(left.iter().all(|entry| entry.file_name() == "lock"), "{told}: {left:?}");
    }
}

#[test]
fn a_directory_whose_lock_was_deleted_is_still_one() {
    let data = Data::new("unlocked");
    let before = dunlin(&["store", "export", data.path()]);
    let _ = fs::remove_file(data.0.join("lock"));
    let checked = dunlin(&["store", "check", data.path()]);
    assert!(text(&checked.stdout).contains("everything is whole"), "{checked:?}");
    assert_eq!(dunlin(&["store", "export", data.path()]).stdout, before.stdout);
    let copy = Data(std::env::temp_dir().join(format!("dunlin-store-unlocked-copy-{}", std::process::id())));
    let _ = fs::remove_dir_all(&copy.0);
    let copied = dunlin(&["store", "backup", data.path(), copy.path()]);
    assert_eq!(copied.status.code(), Some(0), "{copied:?}");
    assert!(!data.0.join("lock").exists(), "nothing in it is changed");
}

#[test]
fn damage_is_named_and_everything_else_is_still_there() {
    let data = Data::new("damaged");
    // The second batch, with both messages of the session.
    data.damage(0, 2 * 4096 + 80);
    let output = dunlin(&["store", "check", data.path()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("DAMAGED: records 3 to 6 are lost, in segment 1 from block 2 on"), "{shown}");
    assert!(shown.contains("1 thing is damaged; the rest is whole") && !shown.contains("log-1-1: DAMAGED"), "{shown}");
    let output = dunlin(&["store", "export", data.path()]);
    assert_eq!(output.status.code(), Some(0));
    let exported = text(&output.stdout);
    assert_eq!(exported.matches("\"kind\":\"delivery\"").count(), 2, "{exported}");
    assert!(
        exported.contains("\"kind\":\"damage\",\"log\":\"log-1-0\",\"first_record\":3,\"records\":4"),
        "{exported}"
    );
    assert_eq!(exported.matches("\"kind\":\"retained\"").count(), 2, "{exported}");
}

#[test]
fn a_write_that_was_cut_off_is_no_damage() {
    let data = Data::new("torn");
    data.damage(0, 4 * 4096 + 70);
    let output = dunlin(&["store", "check", data.path()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("the last write was under way when the power went"), "{shown}");
}

#[test]
fn a_directory_that_cannot_be_looked_at_says_why_in_one_line() {
    let data = Data::new("refused");
    refused(&["store", "check", "/no/such/directory"], "is no data directory: No such file");
    refused(&["store", "check", data.segment(0).to_str().unwrap()], "is no data directory: it is a file");
    let empty = Path::new(data.path()).join("log-1-0");
    refused(&["store", "export", empty.to_str().unwrap()], "no dunlin has ever used it");
    let held = Directory::open(Path::new(data.path()), Access::Write).expect("nobody else has it");
    refused(&["store", "check", data.path()], "is in use by another dunlin");
    let newer = {
        let mut block = manifest().seal();
        block[8] = 99;
        block
    };
    let manifest_path = held.path_of(StoreFile::Manifest);
    let mode = fs::metadata(&manifest_path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "the keys in it are nobody else's business");
    let copy_path = held.path_of(StoreFile::ManifestCopy);
    fs::write(&manifest_path, &newer).unwrap();
    fs::write(&copy_path, newer).unwrap();
    release(held);
    refused(&["store", "check", data.path()], "was written by a newer dunlin: it has format 99");
    fs::write(&manifest_path, vec![0; 4096]).unwrap();
    fs::remove_file(copy_path).unwrap();
    refused(&["store", "check", data.path()], "manifest is damaged: no manifest begins here");
    fs::remove_file(&manifest_path).unwrap();
    refused(&["store", "check", data.path()], "it has no manifest");
}

#[test]
fn one_copy_of_the_manifest_is_enough_and_a_lost_one_is_told() {
    let data = Data::new("manifest");
    let paths = ["manifest", "manifest-copy"].map(|name| Path::new(data.path()).join(name));
    let directory = Directory::open(Path::new(data.path()), Access::Write).expect("nobody else has it");
    for path in &paths {
        let whole = fs::read(path).expect("a manifest");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x80;
            fs::write(path, changed).expect("written");
            let found = directory.manifest().expect("the other one is whole").expect("a manifest");
            assert!(found.manifest == manifest() && found.lost.is_some(), "byte {at}");
        }
        fs::write(path, whole).expect("written");
    }
    // One was replaced and the other not: the newer one counts, whichever that is.
    for path in &paths {
        fs::write(path, Manifest { epoch: 2, ..manifest() }.seal()).expect("written");
        assert_eq!(directory.manifest().expect("both are whole").expect("a manifest").manifest.epoch, 2);
        directory.write_manifest(&manifest()).expect("written");
    }
    release(directory);
    fs::remove_file(&paths[0]).expect("it was there");
    let output = dunlin(&["store", "check", data.path()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("DAMAGED: one of the two copies of the manifest is not there"), "{shown}");
}

#[test]
fn another_nodes_directory_and_one_that_cannot_be_written_to_are_refused() {
    let data = Data::new("node");
    let directory = Directory::open(Path::new(data.path()), Access::Write).expect("nobody else has it");
    assert_eq!(
        directory.own_manifest("test-node").expect("its own"),
        Some(FoundManifest { manifest: manifest(), lost: None })
    );
    let other = directory.own_manifest("other").expect_err("it is another's").to_string();
    assert!(other.contains("belongs to node \"test-node\" and this is node \"other\""), "{other}");
    let error = Directory::open(Path::new("/proc/dunlin"), Access::Write).expect_err("nothing is made there");
    assert!(error.to_string().contains("/proc/dunlin"), "{error}");
}

#[test]
fn a_command_that_is_not_understood_says_what_there_is() {
    let output = dunlin(&["store"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("check") && text(&output.stderr).contains("export"));
    let output = dunlin(&["store", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Looks at a data directory"));
}

/// A place for a copy, which is not there.
fn place(name: &str) -> Data {
    let path = std::env::temp_dir().join(format!("dunlin-store-copy-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    Data(path)
}

#[test]
fn a_copy_holds_the_same_whether_somebody_uses_the_directory_or_not() {
    let data = Data::new("backup");
    let exported = dunlin(&["store", "export", data.path()]).stdout;
    // Somebody has the lock, as a broker would.
    let used = Directory::open(&data.0, Access::Write).expect("nobody has it");
    let copy = place("same");
    let output = dunlin(&["store", "backup", data.path(), copy.path()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(shown.contains("everything is whole") && text(&output.stderr).contains("were copied"), "{output:?}");
    drop(used);
    assert_eq!(text(&dunlin(&["store", "export", copy.path()]).stdout), text(&exported));
    assert_eq!(fs::metadata(&copy.0).expect("it is there").permissions().mode() & 0o777, 0o700);
    // A directory that is empty will do, and a copy of a copy is the same.
    let second = place("again");
    fs::create_dir(&second.0).expect("a folder");
    assert_eq!(dunlin(&["store", "backup", copy.path(), second.path()]).status.code(), Some(0));
    assert_eq!(text(&dunlin(&["store", "export", second.path()]).stdout), text(&exported));
}

#[test]
fn a_copy_of_what_is_damaged_is_as_damaged_and_says_so() {
    let data = Data::new("backup-damaged");
    data.damage(0, 2 * 4096 + 80);
    let copy = place("damaged");
    let output = dunlin(&["store", "backup", data.path(), copy.path()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("DAMAGED: records 3 to 6 are lost, in segment 1 from block 2 on"), "{shown}");
    // One manifest of the two is enough for a copy, which has both; that one was lost is told.
    let data = Data::new("backup-manifest");
    fs::remove_file(data.0.join("manifest")).expect("it is there");
    let copy = place("manifest");
    let output = dunlin(&["store", "backup", data.path(), copy.path()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stderr).contains("one of the two copies of the manifest is not there"), "{output:?}");
    // Segments that somebody has deleted are missing in the copy, too.
    let data = Data::new("backup-missing");
    let log = LogId { generation: 1, shard: ShardId(0) };
    let newest = NewestSegment(SegmentNumber(2)).seal();
    fs::write(data.0.join(StoreFile::Newest(log).to_string()), newest).expect("a note");
    let copy = place("missing");
    let output = dunlin(&["store", "backup", data.path(), copy.path()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("segment 2 is not there"), "{output:?}");
}

#[test]
fn what_cannot_be_copied_is_told_in_a_line_and_nothing_is_left() {
    let data = Data::new("backup-refused");
    let copy = place("refused");
    let of = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    refused(&["store", "backup", "/no/such/directory", copy.path()], "/no/such/directory is no data directory");
    refused(&["store", "backup", "/etc", copy.path()], "/etc is no data directory: no dunlin has ever used it");
    refused(&["store", "backup", &of(&data.segment(0)), copy.path()], "is no data directory: it is a file");
    refused(&["store", "backup", data.path(), data.path()], "has something in it already");
    refused(&["store", "backup", data.path(), &of(&data.0.join("lock"))], "has something in it already");
    refused(&["store", "backup", data.path(), &of(&data.0.join("copies/one"))], "lies within the directory");
    refused(&["store", "backup", data.path(), "/proc/copy"], "/proc/copy");
    refused(&["store", "backup", data.path(), "/dev/null/copy"], "/dev/null/copy");
    assert!(!copy.0.exists());
    let segment = data.segment(1);
    fs::remove_file(&segment).and_then(|()| fs::create_dir(&segment)).expect("a folder in its place");
    refused(&["store", "backup", data.path(), copy.path()], "segment-0000000001 cannot be read");
    assert!(!copy.0.exists(), "what was begun is gone");
    for name in ["manifest", "manifest-copy"] {
        fs::write(data.0.join(name), "what").expect("a manifest");
    }
    refused(&["store", "backup", data.path(), copy.path()], "manifest is damaged");
    assert!(!copy.0.exists());
}
