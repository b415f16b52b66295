//! Clients of the broker's own: how they come in, and that nobody else does under their names.

use super::access::use_rules;
use super::harness::{World, options, v5, v5_kept};
use super::show::publish1;
use crate::codec::{Connect, Packet, Version};
use crate::settings::ListenerSettings;
use crate::shard::{Command, DrainPlan, Reply, UserNameBasis};

/// Connects by the internal listener. Returns the peer and its answer.
fn service(world: &mut World, connect: &Connect<'_>) -> (usize, Vec<String>) {
    let peer = world.open_at(ListenerSettings::internal(), UserNameBasis::Claim, connect);
    let answer = world.read(peer);
    (peer, answer)
}

#[test]
fn the_client_id_of_a_service_is_refused_from_everybody_else() {
    let mut world = World::new();
    let (_, answer) = service(&mut world, &v5("$bridge/b"));
    assert!(answer[0].starts_with("CONNACK success"), "{answer:?}");
    for id in ["$bridge/b", "$bridge/", "$sink/x/0", "$source/s"] {
        for connect in [v5(id), Connect::new(Version::V311, id, true)] {
            let peer = world.open(&connect);
            let answer = world.read(peer);
            assert!(answer.iter().any(|line| line == "CLOSED client_id_refused"), "{id}: {answer:?}");
            assert!(!answer[0].starts_with("CONNACK success"), "{id}: {answer:?}");
        }
    }
    // What only looks like it is anybody's.
    for id in ["bridge/b", "$bridge", "$bridges/b", "x$bridge/b"] {
        let peer = world.open(&v5(id));
        assert!(world.read(peer)[0].starts_with("CONNACK success"), "{id}");
    }
    // And a service has no other name.
    let (_, answer) = service(&mut world, &v5("c"));
    assert!(!answer[0].starts_with("CONNACK success"), "{answer:?}");
}

#[test]
fn who_empties_the_broker_asks_clients_to_go_and_no_service() {
    let mut world = World::new();
    let (sink, _) = service(&mut world, &v5("$sink/s"));
    let clients = [world.client("a"), world.client("b"), world.connect(&Connect::new(Version::V311, "c", true))];
    let drain = |server: Option<&str>, is_last| {
        Command::Drain(Some(DrainPlan { clients_per_s: 20, server: server.map(Into::into), is_last }))
    };
    assert_eq!(world.ask(0, drain(None, false)), Reply::Done);
    world.pass_ms(60);
    let told: Vec<Vec<String>> = clients.iter().map(|&client| world.read(client)).collect();
    assert_eq!(told[0], ["DISCONNECT administrative action", "CLOSED administrative_action"]);
    assert!(told[1].is_empty() && told[2].is_empty(), "one in fifty milliseconds: {told:?}");
    assert_eq!(world.ask(0, drain(None, true)), Reply::Done);
    world.pass_ms(60);
    assert_eq!(world.read(clients[1]), ["DISCONNECT server shutting down", "CLOSED server_shutdown"]);
    assert_eq!(world.ask(0, drain(Some("b:1"), true)), Reply::Done);
    world.pass_ms(500);
    assert_eq!(world.read(clients[2]), ["CLOSED server_shutdown"]);
    let elsewhere = world.client("d");
    world.pass_ms(500);
    assert_eq!(world.read(elsewhere), ["DISCONNECT use another server", "CLOSED server_shutdown"]);
    assert!(world.read(sink).is_empty(), "it stays");
    let Reply::Counts(report) = world.ask(0, Command::Counts) else { panic!("numbers") };
    assert_eq!((report.gauges.clients_connected, report.gauges.services_connected), (1, 1));
}

#[test]
fn no_rule_and_no_bound_of_clients_holds_for_a_service() {
    let mut world = World::with(1, |settings| {
        settings.session_expiry_max_s = 60;
        settings.keep_alive_max_s = 30;
        settings.receive_maximum = 2;
        settings.inflight_max = 2;
    });
    use_rules(&mut world, "topic read nothing\n");
    let (peer, answer) = service(&mut world, &v5_kept("$sink/s"));
    assert_eq!(answer, ["CONNACK success"], "neither its expiry nor its keep alive nor its messages are bounded");
    world.subscribe(peer, "a/#", 1);
    for number in 1..=4 {
        world.send(peer, &Packet::Publish(publish1(number, "a/b", "x")));
    }
    let heard = world.read(peer);
    assert_eq!(heard.iter().filter(|line| line.starts_with("PUBACK")).count(), 4, "{heard:?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with("PUBLISH a/b")).count(), 4, "{heard:?}");
}

#[test]
fn a_service_is_told_how_long_a_message_has_waited_and_nobody_else_is() {
    let mut world = World::new();
    let (sink, _) = service(&mut world, &v5_kept("$sink/s"));
    world.subscribe(sink, "a/#", 1);
    let client = world.connect(&v5_kept("client"));
    world.subscribe(client, "a/#", 1);
    let publisher = world.client("publisher");
    world.send(publisher, &Packet::Publish(publish1(1, "a/live", "x")));
    assert_eq!(world.read(sink), ["PUBLISH a/live q1 #1 ids=[1] x"], "it has not waited");
    assert_eq!(world.read(client), ["PUBLISH a/live q1 #1 x"]);
    world.cut(sink);
    world.cut(client);
    world.send(publisher, &Packet::Publish(publish1(2, "a/queued", "y")));
    world.pass_s(3);
    let (sink, heard) = service(&mut world, &v5_kept("$sink/s"));
    assert_eq!(
        heard[1..],
        ["PUBLISH a/live q1 #1 dup ids=[31] x", "PUBLISH a/queued q1 #2 ids=[31] y"],
        "three seconds"
    );
    world.pass_s(2);
    world.cut(sink);
    let (_, heard) = service(&mut world, &v5_kept("$sink/s"));
    assert_eq!(heard[1..], ["PUBLISH a/live q1 #1 dup ids=[51] x", "PUBLISH a/queued q1 #2 dup ids=[51] y"]);
    let (_, heard) = world.resume(&v5_kept("client"));
    assert_eq!(heard[1..], ["PUBLISH a/live q1 #1 dup x", "PUBLISH a/queued q1 #2 y"]);
}

#[test]
fn behind_the_identifiers_of_its_subscriptions_a_service_is_told_it_too() {
    let mut world = World::new();
    let (bridge, _) = service(&mut world, &v5_kept("$bridge/b"));
    world.subscribe_with(bridge, "a/#", options(0), Some(7));
    let _ = world.read(bridge);
    let publisher = world.client("publisher");
    world.send(publisher, &Packet::Publish(publish1(1, "a/b", "x")));
    assert_eq!(world.read(bridge), ["PUBLISH a/b ids=[7, 1] x"]);
}
