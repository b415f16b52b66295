//! Where a scenario plays: a broker of its own, names that no other run uses, and the record for a report.
//!
//! A test that fails prints client, behaviour and shards, then what passed between the scenario and its clients, then the
//! broker's log. A test that passes has also seen that the broker is still there and that nothing in it panicked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::certificate::Certificate;
use crate::peer::Peer;
use crate::support::{Broker, unpoisoned};
use crate::words::{Connect, Version};

/// How long anything may take that should take milliseconds. Generous, because the machine may be busy; nothing waits
/// for it to pass unless the test fails.
pub(crate) const WAIT: Duration = Duration::from_secs(20);
/// Lines of a report about one test.
const TRANSCRIPT_LINES_MAX: usize = 200;
/// Longest piece of a line in a report.
const SHOWN_CHARACTERS_MAX: usize = 400;

/// Which client library plays, and which version it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) library: Library,
    pub(crate) version: Version,
    pub(crate) transport: Transport,
}

/// What a client connects over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
    Unix,
}

impl Transport {
    /// What `DUNLIN_TEST_TRANSPORT` puts in the place of TCP.
    fn wanted() -> Option<Self> {
        let name = std::env::var("DUNLIN_TEST_TRANSPORT").ok()?;
        Some(match name.as_str() {
            "tls" => Self::Tls,
            "websocket" => Self::WebSocket,
            "secure-websocket" => Self::SecureWebSocket,
            "unix" => Self::Unix,
            _ => panic!("DUNLIN_TEST_TRANSPORT={name}: there are tls, websocket, secure-websocket and unix"),
        })
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }
}

/// The clients that have drivers. Mosquitto's are commands and have a file of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Paho,
    Gmqtt,
    MqttJs,
    Rumqttc,
    Mosquitto,
}

impl Library {
    /// Whether its driver connects over it.
    fn knows(self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp | Transport::Tls => true,
            Transport::WebSocket | Transport::SecureWebSocket => matches!(self, Self::Paho | Self::MqttJs),
            Transport::Unix => matches!(self, Self::Paho | Self::Mosquitto),
        }
    }
}

/// One run of one scenario.
pub(crate) struct Stage {
    broker: Broker,
    /// The path that the broker listens at, if it does at one.
    socket: String,
    /// The broker's, where the clients come over TLS.
    certificate: Option<Certificate>,
    /// What the test is called in a report.
    title: String,
    client: Client,
    unique: String,
    transcript: Arc<Transcript>,
}

/// Plays a scenario against a new broker.
pub(crate) fn play(client: Client, behaviour: &str, shards: usize, scenario: fn(&Stage)) {
    let mut stage = Stage::new(client, behaviour, shards);
    scenario(&stage);
    let complaint = stage.broker.complaint();
    assert!(complaint.is_none(), "{}", complaint.unwrap_or_default());
}

/// What the broker is started with, where a behaviour needs more than the defaults.
fn flags_for(behaviour: &str) -> &'static [&'static str] {
    match behaviour {
        "a_burst_of_5000_arrives_whole" => &["--full-queue", "hold-back"],
        _ => &[],
    }
}

impl Stage {
    fn new(mut client: Client, behaviour: &str, shards: usize) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if let (Transport::Tcp, Some(wanted)) = (client.transport, Transport::wanted()) {
            client.transport = wanted;
        }
        let Client { library, version, transport } = client;
        assert!(library.knows(transport), "{library:?} has no driver that connects over {transport:?}");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("dunlin-{}-{behaviour}-{shards}.sock", std::process::id()));
        let socket = socket.to_string_lossy().into_owned();
        let certificate = transport.has_tls().then(|| Certificate::make(&format!("stage-{number}")));
        let [chain, key] = certificate.as_ref().map_or_else(Default::default, |certificate| {
            [certificate.chain(), certificate.key()].map(|path| path.to_string_lossy().into_owned())
        });
        let mut flags: Vec<&str> = match transport {
            Transport::Tcp => vec![],
            Transport::Tls => vec!["--tls-port", "0", "--tls-cert", &chain, "--tls-key", &key],
            Transport::WebSocket => vec!["--ws-port", "0"],
            Transport::SecureWebSocket => {
                vec!["--tls-port", "0", "--wss-port", "0", "--tls-cert", &chain, "--tls-key", &key]
            }
            Transport::Unix => vec!["--unix", &socket],
        };
        flags.extend(flags_for(behaviour));
        let broker = Broker::start(shards, &flags);
        // Against a broker that outlives the test, a second run must not meet the first one's sessions.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() % 0x00FF_FFFF);
        let unique = format!("{since:x}-{number:x}");
        let title = format!("{library:?} speaking {version} over {transport:?}, {behaviour}, {shards} shard(s)");
        Self { broker, socket, certificate, title, client, unique, transcript: Arc::new(Transcript::new()) }
    }

    pub(crate) fn client(&self) -> Client {
        self.client
    }

    pub(crate) fn version(&self) -> Version {
        self.client.version
    }

    /// Where this stage's clients connect, where that is an address.
    pub(crate) fn addr(&self) -> SocketAddr {
        match self.client.transport {
            Transport::Tcp | Transport::Unix => self.broker.addr(),
            Transport::Tls | Transport::WebSocket => self.broker.listener_addr(1),
            Transport::SecureWebSocket => self.broker.listener_addr(2),
        }
    }

    /// The file with the certificate that the clients are to trust, where they come over TLS.
    pub(crate) fn ca(&self) -> Option<String> {
        self.certificate.as_ref().map(|certificate| certificate.chain().to_string_lossy().into_owned())
    }

    /// The path where they connect, if it is one.
    pub(crate) fn socket(&self) -> Option<&str> {
        (self.client.transport == Transport::Unix).then_some(&self.socket)
    }

    pub(crate) fn transcript(&self) -> &Arc<Transcript> {
        &self.transcript
    }

    /// A topic or filter below a level that no other run uses.
    pub(crate) fn topic(&self, tail: &str) -> String {
        format!("{}/{tail}", self.unique)
    }

    /// A client id that no other run uses, within the 23 characters of MQTT 3.1. The same name gives the same id.
    pub(crate) fn id(&self, name: &str) -> String {
        let id = format!("{name}-{}", self.unique);
        assert!(id.len() <= 23, "{id} is longer than MQTT 3.1 allows");
        id
    }

    /// A CONNECT with a clean session and nothing else.
    pub(crate) fn connect(&self, name: &str) -> Connect {
        Connect {
            transport: self.client.transport,
            host: self.socket().map_or_else(|| self.addr().ip().to_string(), str::to_owned),
            port: self.addr().port(),
            ca: self.ca(),
            version: self.version(),
            id: self.id(name),
            clean: true,
            keep_alive_s: 60,
            session_expiry_s: None,
            receive_maximum: None,
            topic_alias_maximum: None,
            will: None,
        }
    }

    /// A connected client with a clean session.
    #[track_caller]
    pub(crate) fn peer(&self, name: &str) -> Peer {
        Peer::connected(self, name, self.connect(name)).0
    }

    /// A connected client with a clean session that has subscribed to one filter.
    #[track_caller]
    pub(crate) fn subscriber(&self, name: &str, filter: &str, qos: u8) -> Peer {
        let mut peer = self.peer(name);
        peer.subscribe(filter, qos);
        peer
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let complaint = self.broker.complaint().map(|complaint| format!("*** {complaint}\n")).unwrap_or_default();
            eprintln!(
                "\n=== {}\n{complaint}--- what passed (> command, < event, ! other output)\n{}--- the broker's log\n{}",
                self.title,
                self.transcript.text(),
                self.broker.log()
            );
        }
    }
}

/// What was said last, in order.
pub(crate) struct Transcript {
    began: Instant,
    lines: Mutex<VecDeque<String>>,
}

impl Transcript {
    fn new() -> Self {
        Self { began: Instant::now(), lines: Mutex::new(VecDeque::new()) }
    }

    /// Adds a line; long ones are cut.
    pub(crate) fn add(&self, who: &str, mark: &str, what: &str) {
        let shown: String = what.chars().take(SHOWN_CHARACTERS_MAX).collect();
        let cut = if shown.len() < what.len() { "..." } else { "" };
        let mut lines = unpoisoned(self.lines.lock());
        if lines.len() == TRANSCRIPT_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{:8.3} {who:>8} {mark} {shown}{cut}\n", self.began.elapsed().as_secs_f64()));
    }

    fn text(&self) -> String {
        unpoisoned(self.lines.lock()).iter().map(String::as_str).collect()
    }
}
