//! Who is looked for, who is subscribed, who is first: what is found, and that it is found once whatever goes on meanwhile.

use std::collections::BTreeSet;

use super::access::{come_in, use_rules};
use super::harness::{World, v5_kept};
use super::show::publish1;
use crate::codec::{Connect, Packet};
use crate::limits::{AUDIENCE_FILTERS_MAX, TRAFFIC_COUNTED_S};
use crate::shard::command::{
    Audience, ClientFilter, ClientTraffic, GroupRow, PAGE_MAX_BYTES, SubscriptionRow, TopBy, TopRow, TopicsBy,
};
use crate::shard::{ClientCursor, Command, Reply};

/// All pages of an audience on one shard, with what happens between two of them.
fn audience(world: &mut World, of: &Audience, limit: u16, mut between: impl FnMut(&mut World)) -> Vec<SubscriptionRow> {
    let (mut found, mut after): (Vec<SubscriptionRow>, Option<ClientCursor>) = (Vec::new(), None);
    loop {
        let Reply::Audience { page, next } = world.ask(0, Command::ListAudience { of: of.clone(), after, limit })
        else {
            panic!("no page");
        };
        assert!(page.len() <= usize::from(limit));
        found.extend(page);
        match next {
            Some(cursor) => after = Some(cursor),
            None => return found,
        }
        between(world);
    }
}

fn of_topic(topic: &str) -> Audience {
    Audience::Topic(topic.into())
}

fn of_filter(filter: &str) -> Audience {
    Audience::Filter(filter.into())
}

/// Who, and by which filter.
fn pairs(rows: &[SubscriptionRow]) -> Vec<(&str, &str)> {
    let mut pairs: Vec<_> = rows.iter().map(|row| (&*row.client_id, &*row.filter)).collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn whoever_matches_a_topic_is_found_by_each_filter_and_nobody_else() {
    let mut world = World::new();
    let peers = ["ann", "bob", "eve"].map(|name| world.connect(&v5_kept(name)));
    world.subscribe(peers[0], "a/+", 1);
    world.subscribe(peers[0], "a/b", 2);
    world.subscribe(peers[1], "#", 0);
    world.subscribe(peers[1], "$share/g/a/b", 1);
    world.subscribe(peers[2], "a/c", 0);
    world.cut(peers[0]);
    let expected = [("ann", "a/+"), ("ann", "a/b"), ("bob", "#"), ("bob", "$share/g/a/b")];
    for limit in [256, 1] {
        let rows = audience(&mut world, &of_topic("a/b"), limit, |_| ());
        assert_eq!(pairs(&rows), expected, "limit {limit}");
        let ann = rows.iter().find(|row| &*row.filter == "a/b").unwrap();
        assert_eq!((ann.is_connected, ann.options.qos as u8, ann.picked), (false, 2, None));
    }
    assert_eq!(pairs(&audience(&mut world, &of_filter("a/b"), 9, |_| ())), [("ann", "a/b")]);
    assert_eq!(pairs(&audience(&mut world, &of_filter("$share/g/a/b"), 9, |_| ())), [("bob", "$share/g/a/b")]);
    assert!(audience(&mut world, &of_filter("nobody"), 9, |_| ()).is_empty());
    assert_eq!(audience(&mut world, &Audience::All, 2, |_| ()).len(), 5);
    for wrong in [of_filter("a/#/b"), of_filter("$share/g"), of_topic("a/#"), of_topic("")] {
        let command = Command::ListAudience { of: wrong.clone(), after: None, limit: 9 };
        assert!(matches!(world.ask(0, command), Reply::Refused(_)), "{wrong:?}");
    }
}

#[test]
fn who_is_subscribed_and_kept_from_a_topic_by_rules_is_told_apart() {
    let mut world = World::new();
    use_rules(&mut world, "user ann\ntopic read a/#\nuser bob\ntopic read #\n");
    let ann = come_in(&mut world, "ann", &v5_kept("ann")).0;
    let bob = come_in(&mut world, "bob", &v5_kept("bob")).0;
    for peer in [ann, bob] {
        world.subscribe(peer, "#", 1);
    }
    let hears = |world: &mut World, of: &Audience, limit: u16| {
        let rows = audience(world, of, limit, |_| ());
        let mut told: Vec<_> = rows.iter().map(|row| (row.client_id.to_string(), row.may_receive)).collect();
        told.sort_unstable();
        told
    };
    for limit in [256, 1] {
        for (topic, ann) in [("a/x", true), ("secret", false)] {
            let expected = [("ann".to_owned(), Some(ann)), ("bob".to_owned(), Some(true))];
            assert_eq!(hears(&mut world, &of_topic(topic), limit), expected, "{topic}, limit {limit}");
        }
        for of in [of_filter("#"), Audience::All] {
            let expected = [("ann".to_owned(), None), ("bob".to_owned(), None)];
            assert_eq!(hears(&mut world, &of, limit), expected, "no topic was asked for");
        }
    }
    use_rules(&mut world, "user ann\ntopic read #\nuser bob\ntopic read a/#\n");
    let expected = [("ann".to_owned(), Some(true)), ("bob".to_owned(), Some(false))];
    assert_eq!(hears(&mut world, &of_topic("secret"), 256), expected, "other rules");
}

#[test]
fn a_subscription_that_stays_is_listed_once_while_others_come_and_go() {
    for of in [of_topic("t"), of_filter("t"), Audience::All] {
        let mut world = World::new();
        let mut leaving = Vec::new();
        for number in 0..40 {
            for stem in ["stay", "go"] {
                let peer = world.connect(&v5_kept(&format!("{stem}{number}")));
                world.subscribe(peer, "t", 0);
                if stem == "go" {
                    leaving.push(peer);
                }
            }
        }
        let mut coming = 0;
        let rows = audience(&mut world, &of, 3, |world| {
            if let Some(peer) = leaving.pop() {
                world.unsubscribe(peer, "t");
            }
            coming += 1;
            let peer = world.client(&format!("new{coming}"));
            world.subscribe(peer, "t", 0);
        });
        let stayed: Vec<&str> = rows.iter().map(|row| &*row.client_id).filter(|id| id.starts_with("stay")).collect();
        assert_eq!(stayed.len(), 40, "{of:?}");
        assert_eq!(stayed.into_iter().collect::<BTreeSet<_>>().len(), 40, "nobody twice, {of:?}");
    }
}

#[test]
fn a_session_with_many_subscriptions_is_listed_in_parts() {
    let mut world = World::new();
    let peer = world.connect(&v5_kept("many"));
    for number in 0..100 {
        world.subscribe(peer, &format!("f/{number}"), 0);
    }
    let mut taken = 0;
    let rows = audience(&mut world, &Audience::All, 7, |world| {
        // The list goes from the last to the first.
        world.unsubscribe(peer, &format!("f/{}", 99 - taken));
        taken += 1;
    });
    let filters: BTreeSet<&str> = rows.iter().map(|row| &*row.filter).collect();
    assert_eq!((rows.len(), filters.len()), (100, 100));
}

#[test]
fn groups_are_listed_with_members_of_all_shards_and_what_each_was_picked_for() {
    let mut world = World::of(2);
    let members = [world.name_on(0, "here"), world.name_on(1, "there")];
    let peers = members.clone().map(|name| world.connect(&v5_kept(&name)));
    for peer in peers {
        world.subscribe(peer, "$share/g/t", 0);
    }
    world.cut(peers[1]);
    let list = |world: &mut World| match world.ask(0, Command::ListGroups { first: 0, limit: 9 }) {
        Reply::Groups { page, next: None } => page,
        other => panic!("{other:?}"),
    };
    assert_eq!(list(&mut world), [GroupRow { filter: "$share/g/t".into(), members: 2, connected: 1 }]);
    let publisher = world.client(&world.name_on(0, "pub"));
    let send = |world: &mut World, number| world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
    send(&mut world, 1);
    let picked = |world: &mut World| audience(world, &of_filter("$share/g/t"), 9, |_| ())[0].picked;
    assert_eq!(picked(&mut world), Some(0), "nobody looked");
    assert!(matches!(world.ask(0, Command::ListTopics { by: TopicsBy::Last, limit: 1 }), Reply::Topics { .. }));
    send(&mut world, 2);
    send(&mut world, 3);
    assert_eq!(picked(&mut world), Some(2));
}

/// The answer to a question that takes some turns.
fn top(world: &mut World, by: TopBy, limit: u16) -> Vec<(String, u64)> {
    world.command(0, 7, Command::ListTop { by, limit });
    world.run_until_idle();
    let replies = world.replies();
    let [(_, Reply::Top { rows, .. })] = &replies[..] else { panic!("{replies:?}") };
    rows.iter().map(|TopRow { client_id, value }| (client_id.to_string(), *value)).collect()
}

#[test]
fn the_first_clients_are_found_and_what_is_not_looked_at_is_not_counted() {
    let mut world = World::new();
    let sub = world.connect(&Connect { receive_maximum: 1, ..v5_kept("sub") });
    world.subscribe(sub, "t", 1);
    let (ann, bob) = (world.client("ann"), world.client("bob"));
    world.send(ann, &Packet::Publish(publish1(1, "t", "before")));
    assert!(top(&mut world, TopBy::Received, 9).is_empty(), "the first question begins it");
    for number in 2..=4 {
        world.send(ann, &Packet::Publish(publish1(number, "t", "12345")));
    }
    world.send(bob, &Packet::Publish(publish1(1, "other", "12345")));
    let pair = |name: &str, value| (name.to_owned(), value);
    assert_eq!(top(&mut world, TopBy::Received, 9), [pair("ann", 3), pair("bob", 1)]);
    assert_eq!(top(&mut world, TopBy::ReceivedBytes, 1), [pair("ann", 18)]);
    assert_eq!(top(&mut world, TopBy::Queued, 9), [pair("sub", 3)]);
    assert_eq!(top(&mut world, TopBy::InFlight, 9), [pair("sub", 1)]);
    assert_eq!(top(&mut world, TopBy::Dropped, 9), []);
    world.pass_ms(5_000);
    assert_eq!(top(&mut world, TopBy::QueueAge, 9), [pair("sub", 5_000)]);
    let waits = top(&mut world, TopBy::AckAge, 9);
    let [(name, waits_ms)] = &waits[..] else { panic!("{waits:?}") };
    assert!(name == "sub" && waits_ms.abs_diff(5_000) <= 1, "{waits:?}");
    let describe =
        |world: &mut World, name: &str| match world.ask(0, Command::DescribeClient { client_id: name.into() }) {
            Reply::Client(details) => *details,
            other => panic!("{other:?}"),
        };
    let sub = describe(&mut world, "sub");
    assert_eq!((sub.queued, sub.oldest_queued_ms), (3, Some(5_000)));
    assert_eq!(describe(&mut world, "ann").traffic.map(|(traffic, _)| traffic.received), Some(3));
    let Reply::Topics { rows, counted_ms } = world.ask(0, Command::ListTopics { by: TopicsBy::Messages, limit: 9 })
    else {
        panic!("no topics");
    };
    let shown: Vec<_> = rows.iter().map(|row| (&*row.topic, row.messages, row.bytes, row.last_ago_ms)).collect();
    assert_eq!((shown, counted_ms), (vec![("t", 3, 18, 5_000), ("other", 1, 10, 5_000)], 5_000));
    world.pass_s(u64::from(TRAFFIC_COUNTED_S) + 2);
    assert_eq!(describe(&mut world, "ann").traffic, None::<(ClientTraffic, u64)>, "nobody looks any more");
}

#[test]
fn where_traffic_is_always_counted_nobody_has_to_look_first() {
    let mut world = World::with(1, |settings| settings.count_traffic = true);
    world.pass_s(1);
    let ann = world.client("ann");
    world.send(ann, &Packet::Publish(publish1(1, "t", "12345")));
    assert_eq!(top(&mut world, TopBy::Received, 9), [("ann".to_owned(), 1)]);
    world.pass_s(u64::from(TRAFFIC_COUNTED_S) * 2);
    assert_eq!(top(&mut world, TopBy::Received, 9), [("ann".to_owned(), 1)], "it does not end");
}

#[test]
fn clients_are_looked_for_by_what_their_ids_begin_with_and_whether_they_are_there() {
    let mut world = World::new();
    for number in 0..10 {
        let peer = world.connect(&v5_kept(&format!("truck-{number}")));
        world.connect(&v5_kept(&format!("car-{number}")));
        if number < 4 {
            world.cut(peer);
        }
    }
    let mut count = |filter: ClientFilter| {
        let Reply::Clients { page, .. } = world.ask(0, Command::ListClients { after: None, limit: 256, filter }) else {
            panic!("no page");
        };
        page.len()
    };
    let trucks = ClientFilter { prefix: "truck-".into(), ..ClientFilter::default() };
    assert_eq!(count(trucks.clone()), 10);
    let contains = |part: &str| ClientFilter { contains: part.into(), ..ClientFilter::default() };
    for (part, found) in [("uck-1", 1), ("r-", 10), ("-3", 2), ("TRUCK", 0), ("", 20)] {
        assert_eq!(count(contains(part)), found, "{part}");
    }
    assert_eq!(count(ClientFilter { contains: "-3".into(), ..trucks.clone() }), 1);
    assert_eq!(count(ClientFilter { connected: Some(false), ..trucks.clone() }), 4);
    assert_eq!(count(ClientFilter { connected: Some(true), ..ClientFilter::default() }), 16);
    assert_eq!(
        count(ClientFilter { user: Some("ann".into()), ..trucks.clone() }),
        0,
        "nobody vouches for anybody here"
    );
    assert_eq!(count(ClientFilter { network: "127.0.0.1".parse().ok(), ..trucks }), 0, "nor has anybody an address");
}

#[test]
fn a_search_in_long_client_ids_looks_through_so_many_bytes_at_a_time_and_at_all_of_them() {
    let mut world = World::new();
    let long = "x".repeat(PAGE_MAX_BYTES / 3);
    for number in 0..10 {
        world.connect(&v5_kept(&format!("{number}{long}")));
    }
    let filter = ClientFilter { contains: "9x".into(), ..ClientFilter::default() };
    let (mut after, mut pages, mut found) = (None, 0, 0);
    loop {
        let command = Command::ListClients { after, limit: 256, filter: filter.clone() };
        let Reply::Clients { page, next } = world.ask(0, command) else { panic!("no page") };
        (pages, found, after) = (pages + 1, found + page.len(), next);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, 1);
    assert!(pages >= 4, "{pages} pages");
}

#[test]
fn a_topic_that_too_many_filters_match_is_refused() {
    let mut world = World::new();
    let peer = world.connect(&v5_kept("many"));
    for number in 0..AUDIENCE_FILTERS_MAX {
        world.subscribe(peer, &format!("$share/{number}/t"), 0);
    }
    assert_eq!(audience(&mut world, &of_topic("t"), 100, |_| ()).len(), AUDIENCE_FILTERS_MAX);
    world.subscribe(peer, "t", 0);
    let command = Command::ListAudience { of: of_topic("t"), after: None, limit: 9 };
    assert!(matches!(world.ask(0, command), Reply::Refused(_)));
    assert_eq!(audience(&mut world, &of_filter("t"), 9, |_| ()).len(), 1);
}
