//! Live tails: who publishes what on topics that somebody watches, within the bound of a turn.

use std::sync::Arc;

use super::harness::{World, v5};
use super::show::publish;
use super::will::will;
use crate::codec::{Connect, Forwarded, Packet, Property, Publish};
use crate::limits::{TAIL_MESSAGES_PER_TURN, TAIL_PAYLOAD_MAX_BYTES};
use crate::shard::{Event, ShownProperties, TailFilters, TailedMessage};

fn told(world: &mut World) -> Vec<TailedMessage> {
    let tailed = |event| if let Event::Tailed(message) = event { Some(message) } else { None };
    world.events.drain(..).filter_map(tailed).collect()
}

#[test]
fn what_is_watched_is_told_once_wherever_its_subscribers_are() {
    let mut world = World::of(2);
    let (near, far) = (world.name_on(0, "near"), world.name_on(1, "far"));
    let (near, far) = (world.client(&near), world.client(&far));
    world.subscribe(far, "#", 0);
    world.send(near, &Packet::Publish(publish("a/1", "before anybody watches")));
    world.watch(Some(Arc::new(TailFilters::new(["a/+".into(), "not#a filter".into()]))));
    let long = "x".repeat(TAIL_PAYLOAD_MAX_BYTES + 1);
    world.send(near, &Packet::Publish(publish("a/1", &long)));
    world.send(near, &Packet::Publish(publish("b/1", "of another topic")));
    let messages = told(&mut world);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let message = &messages[0];
    assert_eq!((&*message.topic, message.payload.len()), ("a/1", TAIL_PAYLOAD_MAX_BYTES));
    assert_eq!(message.payload_bytes, long.len() as u64);
    assert_eq!(message.properties, ShownProperties::default());
    let mut block = Vec::new();
    Property::ContentType("text/plain").write_to(&mut block);
    Property::UserProperty("site", "7").write_to(&mut block);
    let described = Publish { properties: Forwarded::from_clean_block(&block), ..publish("a/2", "on") };
    world.send(near, &Packet::Publish(described));
    let properties = told(&mut world).remove(0).properties;
    assert_eq!((properties.content_type.as_deref(), properties.user.len()), (Some("text/plain"), 1));
    assert!(message.client_id.as_deref().is_some_and(|id| id.starts_with("near")), "{message:?}");
    world.watch(None);
    world.send(near, &Packet::Publish(publish("a/1", "after")));
    assert!(told(&mut world).is_empty());
}

#[test]
fn a_will_is_told_and_who_left_it() {
    let mut world = World::new();
    world.watch(Some(Arc::new(TailFilters::new(["will".into()]))));
    let dying = world.connect(&Connect { will: Some(will(0)), ..v5("dying") });
    world.cut(dying);
    let messages = told(&mut world);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!((messages[0].client_id.as_deref(), &*messages[0].payload), (Some("dying"), &b"gone"[..]));
}

#[test]
fn a_turn_tells_so_many_and_counts_the_others() {
    let mut world = World::new();
    let client = world.client("busy");
    world.watch(Some(Arc::new(TailFilters::new(["t".into()]))));
    for _ in 0..TAIL_MESSAGES_PER_TURN + 3 {
        world.send(client, &Packet::Publish(publish("t", "x")));
    }
    assert_eq!((told(&mut world).len(), world.tail_skipped()), (TAIL_MESSAGES_PER_TURN as usize, 3));
}
