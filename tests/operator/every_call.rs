//! Every call of the admin API, asked by a client that somebody else's program makes from the API's own description: as nobody, as who may look
//! and as who may do all, of a broker with traffic.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::admin::Admin;
use crate::broker::Client;

#[test]
fn every_call_is_what_its_description_says_for_whoever_asks() {
    // Nobody listens where the bridge is to go.
    let more = "[[bridge]]\nname = \"away\"\naddress = [\"mqtt://127.0.0.1:1\"]\ntopics = [\"away/# out 1\"]\n\
        [[sink]]\nname = \"copies\"\ntopics = [\"s/#\"]\n[sink.republish]\ntopic = \"copy/{{ topic }}\"\n\
        [[source]]\nname = \"orders\"\ntopic = \"from/{{ place }}\"\n[source.nats]\nservers = [\"127.0.0.1:1\"]\nstream = \"S\"\n";
    let admin = Admin::start("every-call", more);
    let mut clients: Vec<Client> = (b'a'..=b'h').map(|id| Client::connect(&admin.broker, id)).collect();
    assert!(clients.iter_mut().take(4).all(|client| client.subscribe(b'x') == 0));
    let mut publisher = clients.pop().expect("eight");
    let is_over = AtomicBool::new(false);
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                std::io::Write::write_all(&mut publisher.0, b"\x30\x04\0\x01xy").expect("it stays connected");
                thread::sleep(Duration::from_millis(5)); // a rate of messages, not a wait
            }
        });
        let output = Command::new(".venv/bin/python")
            .args([
                "tests/operator/py/every_call.py",
                &format!("http://{}", admin.address),
                &admin.viewer,
                &admin.operator,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        is_over.store(true, Ordering::SeqCst);
        output
    });
    let output = output.expect("scripts/test makes .venv, from tests/clients/py/requirements.txt");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("55 calls"), "{said}");
}
