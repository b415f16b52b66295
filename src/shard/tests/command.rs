//! What operators ask of a shard, and what it answers.

use std::sync::Arc;

use super::harness::{World, options, v5_kept};
use super::show::{publish, publish1, retained};
use crate::codec::{Connect, Packet, Version};
use crate::ids::Qos;
use crate::session::{Message, MessageRef};
use crate::shard::command::{ClientFilter, PAGE_MAX, PAYLOAD_SHOWN_MAX_BYTES};
use crate::shard::{ClientCursor, Command, Event, Reply, RequestId, SessionFate};
use crate::time::Timestamp;
use crate::topic::Cursor;

/// Every client id on a shard, page by page, with what happens between two pages.
fn list(world: &mut World, limit: u16, mut between: impl FnMut(&mut World)) -> Vec<String> {
    let (mut ids, mut after): (Vec<String>, Option<ClientCursor>) = (Vec::new(), None);
    loop {
        let Reply::Clients { page, next } =
            world.ask(0, Command::ListClients { after, limit, filter: ClientFilter::default() })
        else {
            panic!("no page of clients");
        };
        assert!(page.len() <= usize::from(limit.min(PAGE_MAX)));
        ids.extend(page.iter().map(|client| client.client_id.to_string()));
        match next {
            Some(cursor) => after = Some(cursor),
            None => return ids,
        }
        between(world);
    }
}

fn message(topic: &str, retain: bool, payload: &[u8]) -> Message {
    Message::new(&MessageRef {
        topic,
        qos: Qos::AtLeastOnce,
        retain,
        expires: None,
        publisher: None,
        properties: crate::codec::Forwarded::EMPTY,
        payload,
    })
}

#[test]
fn pages_show_every_session_once_while_others_come_and_go() {
    for limit in [1, 7, u16::MAX] {
        let mut world = World::new();
        let stay: Vec<_> = (0..700).map(|n| format!("stay{n:03}")).collect();
        let mut go = Vec::new();
        for (n, name) in stay.iter().enumerate() {
            world.resume(&v5_kept(name));
            if n % 3 == 0 {
                go.push(world.client(&format!("go{n}")));
            }
        }
        let mut coming = 0;
        let seen = list(&mut world, limit, |world| {
            if let Some(peer) = go.pop() {
                world.cut(peer); // its session ends
            }
            coming += 1;
            world.client(&format!("new{coming}"));
        });
        let mut stayed: Vec<&String> = seen.iter().filter(|name| name.starts_with("stay")).collect();
        stayed.sort();
        assert_eq!(stayed, stay.iter().collect::<Vec<_>>(), "limit {limit}");
        let mut all = seen.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), seen.len(), "nobody is shown twice");
    }
}

#[test]
fn a_client_is_described_with_what_it_holds() {
    let mut world = World::new();
    let sub = world.connect(&Connect { receive_maximum: 2, keep_alive_s: 60, ..v5_kept("sub") });
    world.subscribe(sub, "t", 1);
    world.subscribe(sub, "$share/g/u", 1);
    let publisher = world.client("pub");
    for number in 1..=3 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "12345")));
    }
    world.pass_ms(4_500);
    let Reply::Client(details) = world.ask(0, Command::DescribeClient { client_id: "sub".into() }) else { panic!() };
    assert_eq!(details.summary.connected, Some(Version::V5));
    assert_eq!((details.summary.subscriptions, details.summary.messages), (2, 3));
    assert_eq!((details.in_flight, details.queued_bytes, details.session_expiry_s), (2, 6, 3_600));
    let connection = details.connection.unwrap();
    assert_eq!((connection.connected_ms, connection.keep_alive_s, connection.receive_maximum), (4_500, 60, 2));
    let subscriptions = |first| Command::ListSubscriptions { client_id: "sub".into(), first };
    let Reply::Subscriptions { page, total, next } = world.ask(0, subscriptions(0)) else { panic!() };
    let mut filters: Vec<_> = page.iter().map(|row| &*row.filter).collect();
    filters.sort_unstable();
    assert!(page.iter().all(|row| &*row.client_id == "sub" && row.is_connected), "{page:?}");
    assert_eq!((filters, total, next), (vec!["$share/g/u", "t"], 2, None));
    assert_eq!(world.ask(0, subscriptions(u32::MAX)), Reply::Subscriptions { page: Vec::new(), total: 2, next: None });
    world.cut(sub);
    let Reply::Client(details) = world.ask(0, Command::DescribeClient { client_id: "sub".into() }) else { panic!() };
    assert_eq!((details.connection, details.summary.connected), (None, None));
    let ended_ms = world.now.unix_ms;
    assert_eq!(details.disconnected_at, Some(Timestamp(ended_ms)));
    assert_eq!(details.expires_at, Some(Timestamp(ended_ms + 3_600_000)));
    for command in [
        Command::DescribeClient { client_id: "nobody".into() },
        Command::ListSubscriptions { client_id: "nobody".into(), first: 0 },
    ] {
        assert_eq!(world.ask(0, command), Reply::NotFound);
    }
}

#[test]
fn a_client_that_is_disconnected_is_told_the_reason_unless_it_takes_no_packet_so_long() {
    const TEXT: &str = "an operator closed the connection: firmware 1.2 floods";
    for (maximum_packet_size_bytes, is_told) in [(u32::MAX, true), (60, false)] {
        let mut world = World::new();
        let peer = world.connect(&Connect { maximum_packet_size_bytes, ..v5_kept("c") });
        world.read(peer);
        let reason = Some("firmware 1.2 floods".into());
        let command = Command::Disconnect { client_id: "c".into(), session: SessionFate::Kept, reason };
        assert_eq!(world.ask(0, command), Reply::Done);
        let packet = world.read_raw(peer);
        assert_eq!(packet[..1], [0xe0]);
        assert_eq!(packet.windows(TEXT.len()).any(|bytes| bytes == TEXT.as_bytes()), is_told, "{packet:02x?}");
        let is_logged = |event: &Event| matches!(event, Event::Disconnected { text, .. } if text == TEXT);
        assert!(world.events.iter().any(is_logged), "the log is told in any case: {:?}", world.events);
    }
}

#[test]
fn a_client_that_is_disconnected_is_told_and_its_session_stays_or_ends() {
    for (session, sessions_left) in [(SessionFate::Kept, 1), (SessionFate::Ended, 0)] {
        let mut world = World::new();
        let peer = world.connect(&v5_kept("c"));
        let command = Command::Disconnect { client_id: "c".into(), session, reason: None };
        assert_eq!(world.ask(0, command.clone()), Reply::Done);
        let lines = world.read(peer);
        assert!(lines[0].starts_with("DISCONNECT administrative action"), "{lines:?}");
        assert_eq!(lines[1..], ["CLOSED administrative_action"]);
        assert_eq!(world.shards[0].gauges().clients_disconnected, sessions_left);
        let again = if session == SessionFate::Kept { Reply::Done } else { Reply::NotFound };
        assert_eq!(world.ask(0, command), again, "a session without a connection can be ended, too");
        world.shards[0].assert_invariants();
    }
}

#[test]
fn what_an_operator_publishes_is_routed_and_retained_like_any_message() {
    let mut world = World::of(2);
    let sub = world.client(&world.name_on(1, "sub"));
    world.subscribe(sub, "t/#", 1);
    assert_eq!(world.ask(0, Command::Publish(message("t/1", true, b"x"))), Reply::Published { matched: true });
    assert_eq!(world.read(sub), ["PUBLISH t/1 q1 #1 x"]);
    assert_eq!(world.ask(0, Command::Publish(message("u", false, b"x"))), Reply::Published { matched: false });
    for topic in ["a/+", "$SYS/broker/version", "$share/g/a"] {
        assert!(matches!(world.ask(0, Command::Publish(message(topic, false, b"x"))), Reply::Refused(_)), "{topic}");
    }
    assert!(world.shards.iter().all(|shard| shard.gauges().retained_messages == 1), "on every shard");
}

#[test]
fn retained_messages_are_deleted_slice_by_slice_on_every_shard_and_later_ones_stay() {
    let mut world = World::of(2);
    let publisher = world.client(&world.name_on(0, "pub"));
    let sub = world.client(&world.name_on(1, "sub"));
    world.subscribe(sub, "a/#", 0);
    for n in 0..300 {
        world.send(publisher, &Packet::Publish(retained(publish(&format!("a/{n:03}"), "x"))));
    }
    world.send(publisher, &Packet::Publish(retained(publish("b", "x"))));
    assert_eq!(world.read(sub).len(), 300);
    world.hold_work();
    world.command(0, 7, Command::DeleteRetained { filter: "a/+".into() });
    world.work_once(0);
    assert!(world.replies().is_empty() && world.shards[0].has_work(), "it takes more than one slice");
    assert!((1..300).contains(&world.shards[0].gauges().retained_messages));
    world.send(publisher, &Packet::Publish(retained(publish("a/299", "later"))));
    world.release_work();
    assert_eq!(world.replies(), [(RequestId(7), Reply::Deleted { messages: 299 })]);
    assert!(world.shards.iter().all(|shard| shard.gauges().retained_messages == 2), "the later one, and b");
    assert_eq!(world.read(sub), ["PUBLISH a/299 later"], "a deletion is not shown");
    for filter in ["a/#/b", "$SYS/#"] {
        let refused = world.ask(0, Command::DeleteRetained { filter: filter.into() });
        assert!(matches!(refused, Reply::Refused(_)), "{filter}");
    }
}

#[test]
fn retained_messages_are_listed_page_by_page_with_values_that_are_cut() {
    let mut world = World::of(2);
    let publisher = world.client(&world.name_on(0, "pub"));
    for n in 0..2_000 {
        world.send(publisher, &Packet::Publish(retained(publish(&format!("a/{n:04}"), "x"))));
        world.send(publisher, &Packet::Publish(retained(publish(&format!("b/{n:04}"), "y"))));
    }
    for limit in [7, u16::MAX] {
        let (mut seen, mut cursor) = (Vec::new(), Cursor::default());
        loop {
            let command = Command::ListRetained { filter: "a/#".into(), cursor, limit };
            let Reply::Retained { page, next } = world.ask(1, command) else { panic!("no page") };
            assert!(page.len() <= usize::from(limit.min(PAGE_MAX)));
            seen.extend(page.iter().map(|message| format!("{} {:?}", message.topic, message.payload)));
            match next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen, (0..2_000).map(|n| format!("a/{n:04} [120]")).collect::<Vec<_>>());
    }
    let long = "z".repeat(PAYLOAD_SHOWN_MAX_BYTES + 1);
    for n in 0..40 {
        world.send(publisher, &Packet::Publish(retained(publish(&format!("c/{n:02}"), &long))));
    }
    let command = Command::ListRetained { filter: "c/#".into(), cursor: Cursor::default(), limit: PAGE_MAX };
    let Reply::Retained { page, next } = world.ask(0, command) else { panic!("no page") };
    assert!(page.len() < 40 && next.is_some(), "{} messages: a page of long ones ends early", page.len());
    assert_eq!((page[0].payload.len(), page[0].payload_bytes as usize), (PAYLOAD_SHOWN_MAX_BYTES, long.len()));
    let command = Command::ListRetained { filter: "a/#/b".into(), cursor: Cursor::default(), limit: 1 };
    assert!(matches!(world.ask(0, command), Reply::Refused(_)));
}

#[test]
fn settings_that_are_replaced_hold_from_then_on_and_nobody_is_dropped() {
    let mut world = World::with(1, |settings| settings.subscriptions_max = 1);
    let peer = world.client("c");
    world.subscribe(peer, "a", 0);
    world.subscribe_with(peer, "b", options(0), None);
    assert_eq!(world.read(peer), ["SUBACK #1 [151]"]);
    let mut settings = world.settings();
    settings.subscriptions_max = 2;
    settings.sys_interval_s = 10;
    assert_eq!(world.ask(0, Command::Reload(Arc::new(settings))), Reply::Done);
    world.subscribe(peer, "$SYS/broker/version", 0);
    world.pass_s(2);
    let lines = world.read(peer);
    assert!(lines.len() == 1 && lines[0].starts_with("PUBLISH $SYS/broker/version"), "{lines:?}");
}

#[test]
fn counts_are_those_of_the_shard_and_of_its_sockets() {
    let mut world = World::new();
    world.client("c");
    let Reply::Counts(report) = world.ask(0, Command::Counts) else { panic!() };
    assert_eq!((report.gauges.clients_connected, report.counters.connections), (1, 1));
}

#[test]
fn so_many_deletions_go_on_at_once_and_the_next_is_refused() {
    let mut world = World::new();
    world.hold_work();
    for request in 0..=crate::limits::COMMANDS_UNDER_WAY_MAX as u64 {
        world.command(0, request, Command::DeleteRetained { filter: "a/#".into() });
    }
    let refused: Vec<_> = world.replies().into_iter().filter(|(_, reply)| matches!(reply, Reply::NotNow(_))).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[test]
fn a_page_of_long_names_ends_early_and_the_next_one_goes_on() {
    let mut world = World::new();
    let names: Vec<String> = (0..5).map(|n| format!("{n}{}", "x".repeat(60_000))).collect();
    for name in &names {
        world.resume(&v5_kept(name));
    }
    let Reply::Clients { page, next } =
        world.ask(0, Command::ListClients { after: None, limit: PAGE_MAX, filter: ClientFilter::default() })
    else {
        panic!("no page of clients");
    };
    assert!(page.len() == 2 && next.is_some(), "{} clients", page.len());
    let mut seen = list(&mut world, PAGE_MAX, |_| {});
    seen.sort();
    assert_eq!(seen, names);
    let client_id: Box<str> = names[0].as_str().into();
    let (peer, _) = world.resume(&v5_kept(&names[0]));
    for name in &names {
        world.subscribe(peer, name, 0);
    }
    let (mut filters, mut first) = (Vec::new(), Some(0));
    while let Some(place) = first {
        let command = Command::ListSubscriptions { client_id: client_id.clone(), first: place };
        let Reply::Subscriptions { page, total, next } = world.ask(0, command) else { panic!("no page of filters") };
        assert!(page.len() <= 2 && total == 5, "{} of {total} filters", page.len());
        filters.extend(page.into_iter().map(|row| row.filter));
        first = next;
    }
    filters.sort_unstable();
    filters.dedup();
    assert_eq!(filters.len(), 5);
}

#[test]
fn a_filter_that_stays_is_on_one_page_whatever_comes_and_goes_between_two() {
    let mut world = World::new();
    let (peer, _) = world.resume(&v5_kept("sub"));
    // Three of them are a page.
    let rest = "x".repeat(30_000);
    let name = |kind: &str, number: usize| match number % 3 {
        0 => format!("$share/g/{kind}/{number}/{rest}"),
        1 => format!("{kind}/+/{number}/{rest}"),
        _ => format!("{kind}/{number}/{rest}"),
    };
    let stay: Vec<String> = (0..18).map(|number| name("stay", number)).collect();
    let goes: Vec<String> = (0..18).map(|number| name("goes", number)).collect();
    for (stays, goes) in stay.iter().zip(&goes) {
        world.subscribe(peer, goes, 0);
        world.subscribe(peer, stays, 0);
    }
    let (mut seen, mut first, mut number) = (Vec::new(), Some(0), 0);
    while let Some(place) = first {
        let command = Command::ListSubscriptions { client_id: "sub".into(), first: place };
        let Reply::Subscriptions { page, next, .. } = world.ask(0, command) else { panic!("no page of filters") };
        assert!(page.len() <= 3, "{} filters", page.len());
        seen.extend(page.iter().map(|row| row.filter.to_string()).filter(|filter| filter.contains("stay/")));
        first = next;
        // Two that go, from both ends, and one that comes.
        for gone in [number, goes.len() - 1 - number] {
            world.unsubscribe(peer, &goes[gone]);
        }
        world.subscribe(peer, &name("comes", number), 0);
        number = (number + 1).min(8);
    }
    assert!(number > 5, "{number} pages");
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    let mut wanted = stay;
    wanted.sort_unstable();
    assert_eq!(sorted, wanted);
}
