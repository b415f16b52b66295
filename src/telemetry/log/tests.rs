//! Lines as they come out: their shape, what is escaped, where they go.

use std::fs;

use super::{
    event::{ClientConnected, ClientDisconnected, ConnectRefused},
    *,
};

/// A writer that keeps what it is given.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn options(format: Format, level: tracing::Level) -> LogOptions {
    LogOptions { format, level, file: None, rate: 0, for_journal: false }
}

/// What `log` writes under these options.
fn written(format: Format, level: tracing::Level, log: impl FnOnce()) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    tracing::subscriber::with_default(subscriber(&options(format, level), move || writer.clone()).0, log);
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).expect("lines are UTF-8")
}

/// A text line without its time, which is checked for its shape.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').expect("a time and more");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "9999-99-99T99:99:99.999999Z");
    rest
}

fn connected<'a>(client: &'a str, peer: &'a dyn std::fmt::Display) -> ClientConnected<'a> {
    ClientConnected {
        client,
        user: None,
        peer,
        version: "5.0",
        keep_alive_s: 60,
        clean_start: true,
        session_present: false,
        shard: 3,
        tls: None,
    }
}

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    let told = |format| {
        let kept = Kept::default();
        let writer = kept.clone();
        let options = LogOptions { for_journal: true, ..options(format, tracing::Level::INFO) };
        tracing::subscriber::with_default(subscriber(&options, move || writer.clone()).0, || {
            event::config_warning("x");
            event::log_reopened();
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).expect("lines are UTF-8")
    };
    assert_eq!(told(Format::Text), "<4>WARN  config_warning text=x\n<6>INFO  log_reopened\n");
    let json = told(Format::Json);
    assert!(json.starts_with("<4>{\"time\":") && json.contains("\n<6>{\"time\":"), "{json}");
}

#[test]
fn text_lines_have_time_level_event_and_fields() {
    let text = written(Format::Text, tracing::Level::INFO, || {
        connected("sensor-7", &"10.0.0.9:51544").log();
        ClientConnected { user: Some("tom jones"), ..connected("", &"[::1]:9") }.log();
        let gone = ClientDisconnected {
            client: "sensor-7",
            peer: &"10.0.0.9:51544",
            reason: "keep_alive_timeout",
            text: "",
            duration_ms: 90_000,
        };
        gone.log();
        let refused = ConnectRefused {
            client: Some("sensor-8"),
            user: Some("tom"),
            peer: &"10.0.0.9:1",
            reason: "refused",
            level: None,
            text: "bad user name or password",
        };
        refused.log();
        ConnectRefused { client: None, user: None, reason: "unsupported_version", level: Some(7), text: "", ..refused }
            .log();
        event::listening(&"0.0.0.0:1883", "devices", 4, false);
        event::config_warning("no client can connect");
    });
    let lines: Vec<&str> = text.lines().map(without_time).collect();
    assert_eq!(
        lines,
        [
            "INFO  client_connected client=sensor-7 peer=10.0.0.9:51544 version=5.0 keep_alive_s=60 clean_start=true \
             session_present=false shard=3",
            "INFO  client_connected client=\"\" user=\"tom jones\" peer=[::1]:9 version=5.0 keep_alive_s=60 \
             clean_start=true session_present=false shard=3",
            "INFO  client_disconnected client=sensor-7 peer=10.0.0.9:51544 reason=keep_alive_timeout duration_ms=90000",
            "INFO  connect_refused client=sensor-8 user=tom peer=10.0.0.9:1 reason=refused \
             text=\"bad user name or password\"",
            "INFO  connect_refused peer=10.0.0.9:1 reason=unsupported_version level=7",
            "INFO  listening addr=0.0.0.0:1883 listener=devices shards=4 anonymous=false",
            "WARN  config_warning text=\"no client can connect\"",
        ]
    );
}

#[test]
fn what_operators_do_and_ask_for_is_told_at_any_level() {
    let text = written(Format::Text, tracing::Level::ERROR, || {
        event::admin_action("ann", &"10.0.0.9:1", ("ban", "evil"), Some("guesses"));
        event::admin_action("ann", &"10.0.0.9:1", ("reload", ""), None);
        event::admin_login_failed("eve", &"10.0.0.9:1");
        event::traced("client_connected", "c", "10.0.0.9:1", None, "version=5.0");
        event::admin_password("admin", "sesame", 9);
        // Not so what happens by itself.
        connected("sensor-7", &"10.0.0.9:51544").log();
        event::config_warning("no client can connect");
    });
    let told: Vec<&str> = text.lines().map(|line| without_time(line).split(" text=").next().unwrap()).collect();
    assert_eq!(
        told,
        [
            "INFO  admin_action user=ann peer=10.0.0.9:1 action=ban what=evil reason=guesses",
            "INFO  admin_action user=ann peer=10.0.0.9:1 action=reload what=\"\"",
            "WARN  admin_login_failed user=eve peer=10.0.0.9:1",
            "INFO  traced what=client_connected client=c peer=10.0.0.9:1",
            "WARN  admin_password user=admin password=sesame valid_s=9",
        ]
    );
}

#[test]
fn json_lines_are_one_object_each_with_the_same_names() {
    let text = written(Format::Json, tracing::Level::INFO, || {
        connected("sensor-7", &"10.0.0.9:51544").log();
        tracing::warn!(target: "glommio", ratio = f64::NAN, share = 0.5, delta = -1, "stalled \"for\" {}", "long");
    });
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let mut first = lines[0].clone();
    let time = first.as_object_mut().unwrap().remove("time").unwrap();
    without_time(&format!("{} ", time.as_str().unwrap()));
    assert_eq!(
        first,
        serde_json::json!({
            "level": "info", "event": "client_connected", "client": "sensor-7", "peer": "10.0.0.9:51544",
            "version": "5.0", "keep_alive_s": 60, "clean_start": true, "session_present": false, "shard": 3,
        })
    );
    let second = &lines[1];
    assert_eq!((&second["message"], &second["target"]), (&"stalled \"for\" long".into(), &"glommio".into()));
    assert_eq!((&second["ratio"], &second["share"], &second["delta"]), (&"NaN".into(), &0.5.into(), &(-1).into()));
}

/// Ids that would break a line, hide in it, or pass for something else; and what is shown for each as text.
const HOSTILE: &[(&str, &str)] = &[
    ("a\nb", r#""a\nb""#),
    ("a\r\nINFO  client_connected client=b", r#""a\r\nINFO  client_connected client=b""#),
    ("\u{1b}[2J\u{1b}]0;x\u{7}", r#""\u{1b}[2J\u{1b}]0;x\u{7}""#),
    ("nul\0tab\tdel\u{7f}c1\u{9b}31m", r#""nul\u{0}tab\tdel\u{7f}c1\u{9b}31m""#),
    ("a\u{202e}b\u{2066}c", r#""a\u{202e}b\u{2066}c""#),
    ("line\u{2028}paragraph\u{2029}", r#""line\u{2028}paragraph\u{2029}""#),
    ("zero\u{200b}width\u{feff}", r#""zero\u{200b}width\u{feff}""#),
    ("tag\u{e0041}", r#""tag\u{e0041}""#),
    ("x peer=1.2.3.4:5", r#""x peer=1.2.3.4:5""#),
    ("\"quoted\" \\ back", r#""\"quoted\" \\ back""#),
    ("a=b", r#""a=b""#),
    ("", r#""""#),
    ("sensör-温度-🐦", "sensör-温度-🐦"),
];

#[test]
fn what_a_client_supplies_cannot_leave_its_field() {
    for (id, shown) in HOSTILE {
        let text = written(Format::Text, tracing::Level::INFO, || {
            connected(id, &id).log();
            tracing::error!(target: "dunlin", "{id}");
        });
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        let expected = format!(" client={shown} peer={shown} version=5.0 ");
        assert!(lines[0].contains(&expected), "{} without {expected}", lines[0]);

        let json = written(Format::Json, tracing::Level::INFO, || connected(id, &id).log());
        assert!(json.ends_with("}\n") && json.trim_end().chars().all(|c| !c.is_control()), "{json:?}");
        let value: serde_json::Value = serde_json::from_str(json.trim_end()).expect(&json);
        assert_eq!((&value["client"], &value["peer"]), (&(*id).into(), &(*id).into()), "{json}");
    }
}

#[test]
fn a_long_field_is_cut_at_a_character_and_says_how_long_it_was() {
    let id = "ü".repeat(30_000);
    for (format, field) in [(Format::Text, "client="), (Format::Json, "\"client\":")] {
        let line = written(format, tracing::Level::INFO, || connected(&id, &"p").log());
        let expected = format!("{field}\"{}...(60000 bytes)\"", "ü".repeat(limits::LOG_FIELD_MAX_BYTES / 2));
        assert!(line.contains(&expected), "{line}");
        assert!(line.len() < 1_000, "{line}");
    }
    // What the broker itself says is shown whole, or what to do about it would be missing.
    let advice = "raise the limit ".repeat(30);
    let line =
        written(Format::Text, tracing::Level::INFO, || tracing::warn!(target: "dunlin", text = %advice, "limits"));
    assert!(line.contains(&advice), "{line}");
    // A boundary inside a character.
    let id = format!("x{}", "ü".repeat(200));
    let line = written(Format::Text, tracing::Level::INFO, || connected(&id, &"p").log());
    assert!(line.contains("ü...(401 bytes)\""), "{line}");
}

#[test]
fn levels_hide_what_is_below_them_and_other_crates_below_a_warning() {
    let log = || {
        tracing::info!(target: "dunlin::net", "ours");
        tracing::info!(target: "glommio", "theirs");
        tracing::warn!(target: "glommio", "theirs, serious");
        event::protocol_error("c", &"p", 0x82, "x");
    };
    let lines = |level| {
        let text = written(Format::Text, level, log);
        text.lines().map(|line| without_time(line).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(tracing::Level::ERROR), [""; 0]);
    assert_eq!(lines(tracing::Level::INFO), ["INFO  ours", "WARN  theirs, serious target=glommio"]);
    assert_eq!(
        lines(tracing::Level::TRACE),
        ["INFO  ours", "WARN  theirs, serious target=glommio", "DEBUG protocol_error client=c peer=p code=0x82 text=x"]
    );
}

#[test]
fn an_address_of_a_held_back_line_is_never_formatted() {
    struct Counted<'a>(&'a std::cell::Cell<usize>);
    impl std::fmt::Display for Counted<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("peer")
        }
    }
    let shown = std::cell::Cell::new(0);
    let text = written(Format::Text, tracing::Level::WARN, || connected("c", &Counted(&shown)).log());
    assert_eq!((text.as_str(), shown.get()), ("", 0));
}

#[test]
fn a_file_that_was_moved_away_is_opened_again_and_a_failure_keeps_the_old_one() {
    let directory = std::env::temp_dir().join(format!("dunlin-log-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (path, moved) = (directory.join("dunlin.log"), directory.join("dunlin.log.1"));
    let mut output = Output::open(Some(&path)).unwrap();
    let mut say = |text: &str| {
        output.write_all(text.as_bytes()).unwrap();
        output.flush().unwrap();
        output.clone()
    };
    say("one\n");
    fs::rename(&path, &moved).unwrap();
    say("two\n").reopen().unwrap();
    let output = say("three\n");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    // A directory stands where the file should be: nothing can be opened, and nothing is lost.
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(output.reopen().is_err());
    say("four\n");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "three\nfour\n");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn lines_beyond_the_queue_of_a_stalled_writer_are_lost_and_counted() {
    let directory = std::env::temp_dir().join(format!("dunlin-log-stalled-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("dunlin.log");
    let output = Output::open(Some(&path)).unwrap();
    let stalled = output.lock();
    let (mut lines, guard) = writer(output.clone());
    let lost = lines.error_counter();
    for _ in 0..limits::LOG_QUEUE_LINES + 100 {
        lines.write_all(b"line\n").unwrap();
    }
    // The writer may hold one that it cannot write.
    assert!((99..=100).contains(&lost.dropped_lines()), "{} lost", lost.dropped_lines());
    drop(stalled);
    drop(guard);
    let written = fs::read_to_string(&path).unwrap().lines().count();
    assert_eq!(written + lost.dropped_lines(), limits::LOG_QUEUE_LINES + 100);
    fs::remove_dir_all(&directory).unwrap();
}
