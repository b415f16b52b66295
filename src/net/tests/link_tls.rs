//! Links over TLS on real sockets: with another node of ours, and with the server of OpenSSL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;
use crate::cluster::{LinkFrame, LinkHello};
use crate::conn::LinkNews;
use crate::conn::tls::tests::{Pki, node_dialler, node_listener};

fn secure(number: u16, pki: &Pki) -> (Stage, SocketAddr) {
    let layers = ListenerLayers::Tls(node_listener(pki, pki));
    let dials = DialLayers::Tls(node_dialler(Some(pki), pki));
    node_by(number, LinkTrust::Certificate, layers, dials)
}

impl Stage {
    /// A turn, with handshakes run as the thread beside the shard does.
    fn secure_turn(&mut self) {
        self.turn();
        let run: Vec<_> = self.edge.handshakes().collect();
        for (connection, mut handshake) in run {
            handshake.run();
            self.with(|edge, core| edge.take_handshake(core, connection, *handshake));
        }
    }
}

#[test]
fn nodes_with_certificates_link_to_each_other() {
    let pki = Pki::new();
    let ((mut first, first_at), (mut second, second_at)) = (secure(1, &pki), secure(2, &pki));
    second.edge.use_view(now(), NodeId::new(2), view(1, &[first_at]));
    second.with(Edge::handle_deadlines);
    first.dial(&[second_at]);
    let deadline = Instant::now() + PATIENCE;
    let mut linked = [false; 2];
    while linked != [true; 2] {
        assert!(Instant::now() < deadline, "they do not get to know each other");
        for (stage, linked) in [&mut first, &mut second].into_iter().zip(&mut linked) {
            stage.secure_turn();
            *linked |= stage.edge.link_news().iter().any(|news| news.word == LinkWord::Linked);
        }
    }
    assert_eq!((first.edge.connections(), second.edge.connections()), (2, 2), "one each way");
}

/// `openssl s_server`, which asks for a certificate of the same authority.
struct OpenSsl {
    process: Child,
    at: SocketAddr,
    /// What it has received, and what it says itself.
    output: Receiver<Vec<u8>>,
    input: ChildStdin,
    folder: PathBuf,
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl OpenSsl {
    fn new(name: &str, pki: &Pki) -> Self {
        let folder = std::env::temp_dir().join(format!("dunlin-s_server-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [certificate, key, ca] = ["node.der", "key.der", "ca.pem"].map(|file| folder.join(file));
        for (file, bytes) in [&certificate, &key, &ca].into_iter().zip(pki.files()) {
            fs::write(file, bytes).unwrap();
        }
        let mut process = command(&certificate, &key, &ca).spawn().expect("openssl is there");
        let output = read_along(process.stdout.take().unwrap());
        let input = process.stdin.take().unwrap();
        let (at, output) = where_it_is(output);
        Self { process, at, output, input, folder }
    }
}

fn command(certificate: &Path, key: &Path, ca: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-Verify", "1", "-verify_return_error"]);
    command.args(["-certform", "DER", "-keyform", "DER", "-cert"]).arg(certificate).arg("-key").arg(key);
    command.arg("-CAfile").arg(ca);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn read_along(mut output: ChildStdout) -> Receiver<Vec<u8>> {
    let (to, from) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            if to.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    from
}

/// It says so when it listens.
fn where_it_is(output: Receiver<Vec<u8>>) -> (SocketAddr, Receiver<Vec<u8>>) {
    let mut text = String::new();
    loop {
        text.push_str(&String::from_utf8_lossy(&output.recv_timeout(PATIENCE).expect("it says where it listens")));
        let line = text.lines().find_map(|line| line.strip_prefix("ACCEPT "));
        if let Some(at) = line.filter(|_| text.ends_with('\n')) {
            return (at.parse().unwrap(), output);
        }
    }
}

#[test]
fn the_server_of_openssl_is_shown_a_certificate_and_told_who_this_is() {
    let pki = Pki::new();
    let mut server = OpenSsl::new("linked", &pki);
    let (mut stage, _) = secure(1, &pki);
    stage.dial(&[server.at]);
    let deadline = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while !heard.windows(5).any(|part| part == b"fleet") {
        assert!(Instant::now() < deadline, "HELLO does not come: {}", String::from_utf8_lossy(&heard));
        stage.secure_turn();
        heard.extend(server.output.try_iter().flatten());
    }
    let text = String::from_utf8_lossy(&heard);
    assert!(text.contains("Client certificate") && text.contains("device-7"), "{text}");
    // This test answers for the node behind it. It has sent tickets before, which nobody has a use for.
    let mut answer = Vec::new();
    let (versions, nonce) = ((1, 1), [7; 32]);
    let (node, boot, shards, carries_client) = (NodeId::new(2), BootId(2), (1, 0), false);
    let hello = LinkHello { versions, node, boot, shards, carries_client, nonce, cluster: "fleet" };
    LinkFrame::Hello(hello).encode(&mut answer);
    LinkFrame::Received { count: 0 }.encode(&mut answer);
    server.input.write_all(&answer).unwrap();
    let linked = LinkNews { boot: BootId(2), word: LinkWord::Linked };
    while !stage.edge.link_news().contains(&linked) {
        assert!(Instant::now() < deadline, "its answer is not heard");
        stage.secure_turn();
    }
}

#[test]
fn a_server_of_openssl_with_a_certificate_of_others_or_an_expired_one_is_told_nothing() {
    let pki = Pki::new();
    for (name, others) in [("others", Pki::new()), ("expired", Pki::expired())] {
        let server = OpenSsl::new(name, &others);
        let believes = if name == "expired" { &others } else { &pki };
        let dials = DialLayers::Tls(node_dialler(Some(&others), believes));
        let layers = ListenerLayers::Tls(node_listener(&pki, &pki));
        let (mut stage, _) = node_by(1, LinkTrust::Certificate, layers, dials);
        stage.dial(&[server.at]);
        let deadline = Instant::now() + PATIENCE;
        while stage.ends(CloseReason::LinkTls) == 0 {
            assert!(Instant::now() < deadline, "{name}: it is not refused");
            stage.secure_turn();
        }
        let heard: Vec<u8> = server.output.try_iter().flatten().collect();
        assert!(!heard.windows(5).any(|part| part == b"fleet"), "{name}");
    }
}
