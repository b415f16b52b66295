//! Mount points of listeners, with clients of others.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use crate::broker::Broker;

fn run(program: &str, address: &str, arguments: &[&str]) -> Output {
    let (host, port) = address.rsplit_once(':').expect("host and port");
    Command::new(program).args(["-h", host, "-p", port]).args(arguments).output().expect("it runs")
}

#[test]
fn clients_of_a_mounted_listener_see_their_topics_as_they_name_them() {
    let broker = Broker::start(
        "mounts",
        "[[listener]]\nname = \"inner\"\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"tenant\"\nbind = \"127.0.0.1:0\"\nmount_point = \"tenant/%c/\"\n",
    );
    let (inner, tenant) = (broker.addresses[0].clone(), broker.addresses[1].clone());
    let listen = |address: String, arguments: &'static [&'static str]| {
        thread::spawn(move || {
            let output = run("mosquitto_sub", &address, &[&["-v", "-q", "1", "-W", "30"][..], arguments].concat());
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    };
    // One each: what was retained, what comes live, the will of a client.
    let outside = listen(inner.clone(), &["-t", "tenant/#", "-C", "3"]);
    let inside = listen(tenant.clone(), &["-i", "c1", "-t", "#", "-C", "2"]);
    thread::sleep(Duration::from_millis(700));
    assert!(run("mosquitto_pub", &tenant, &["-i", "c2", "-q", "1", "-t", "a/b", "-m", "elsewhere"]).status.success());
    for payload in ["one", "two"] {
        assert!(run("mosquitto_pub", &inner, &["-q", "1", "-t", "tenant/c1/x", "-m", payload]).status.success());
    }
    assert_eq!(outside.join().expect("it ran"), "tenant/c2/a/b elsewhere\ntenant/c1/x one\ntenant/c1/x two\n");
    assert_eq!(inside.join().expect("it ran"), "x one\nx two\n");
    assert!(!run("mosquitto_pub", &tenant, &["-i", "a/b", "-t", "x", "-m", "y"]).status.success());
    let lines = broker.lines_to("connect_refused");
    assert!(lines.last().is_some_and(|line| line.contains("mount point")), "{lines:?}");
}
