//! Mount points of listeners, by raw bytes.

use crate::broker::{Broker, Client};

/// A client of a listener; a client id of one letter.
fn connect(address: &str, id: u8) -> Client {
    let mut client = Client::open(address);
    assert_eq!(client.say_connect(id), 0);
    client
}

/// The topic and payload of the next PUBLISH of QoS 0.
fn next_message(client: &mut Client) -> (String, String) {
    let [kind, length] = client.receive::<2>();
    assert_eq!(kind & 0xf6, 0x30, "a PUBLISH of QoS 0");
    let mut body = vec![0; usize::from(length)];
    std::io::Read::read_exact(&mut client.0, &mut body).expect("a whole packet");
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&body[2..end]), text(&body[end..]))
}

fn publish(client: &mut Client, topic: &str, payload: &str) {
    let (topic, payload) = (topic.as_bytes(), payload.as_bytes());
    let head = [0x30, (2 + topic.len() + payload.len()) as u8, 0, topic.len() as u8];
    client.send(&[&head[..], topic, payload].concat());
}

fn told(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

#[test]
fn clients_of_a_mounted_listener_see_their_topics_as_they_name_them() {
    let broker = Broker::start(
        "mounts",
        "[[listener]]\nname = \"inner\"\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"tenant\"\nbind = \"127.0.0.1:0\"\nmount_point = \"tenant/%c/\"\n",
    );
    let (inner, tenant) = (&broker.addresses[0], &broker.addresses[1]);
    let mut outside = connect(inner, b'o');
    assert_eq!(outside.subscribe(b'#'), 0);
    let (mut one, mut two) = (connect(tenant, b'1'), connect(tenant, b'2'));
    assert_eq!((one.subscribe(b'#'), two.subscribe(b'#')), (0, 0));
    publish(&mut two, "a/b", "elsewhere");
    assert_eq!(next_message(&mut two), told("a/b", "elsewhere"));
    assert_eq!(next_message(&mut outside), told("tenant/2/a/b", "elsewhere"));
    publish(&mut outside, "tenant/1/x", "hers");
    assert_eq!(next_message(&mut one), told("x", "hers"), "and nothing of the other before it");
    assert_eq!(next_message(&mut outside), told("tenant/1/x", "hers"));
    publish(&mut one, "y", "mine");
    assert_eq!(next_message(&mut outside), told("tenant/1/y", "mine"));
    let mut refused = Client::open(tenant);
    assert_eq!(refused.say_connect(b'+'), 5);
    let lines = broker.lines_to("connect_refused");
    assert!(lines.last().is_some_and(|line| line.contains("mount point")), "{lines:?}");
}
