//! Sampled messages: which are, what spans they have, and that these belong together wherever the message goes.

use super::harness::{World, v5_kept};
use super::show::{publish, publish1, publish2};
use crate::codec::{AckKind, Forwarded, Packet, Property, Publish, ReasonCode};
use crate::limits::{SAMPLED_DELIVERIES_MAX, SAMPLED_PER_S_MAX, SPAN_MAX_S};
use crate::shard::{Event, Span, SpanEnd, SpanKind, SpanSampling};

const ALL: SpanSampling = SpanSampling { below: 1 << 63, keys: [1, 2] };
const NONE: SpanSampling = SpanSampling { below: 0, keys: [1, 2] };
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const DONE: SpanEnd = SpanEnd::Code(ReasonCode::Success);

fn spans(world: &mut World) -> Vec<Span> {
    let span = |event| if let Event::Span(span) = event { Some(*span) } else { None };
    world.events.drain(..).filter_map(span).collect()
}

fn kinds(spans: &[Span]) -> Vec<SpanKind> {
    spans.iter().map(|span| span.kind).collect()
}

fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in pairs {
        Property::UserProperty(name, value).write_to(&mut block);
    }
    block
}

fn with<'a>(publish: Publish<'a>, block: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish { properties: Forwarded::from_clean_block(block), ..publish })
}

#[test]
fn a_message_with_qos_0_is_received_and_sent() {
    let mut world = World::new();
    let (publisher, sub) = (world.client("pub"), world.client("sub"));
    world.subscribe(sub, "t/#", 0);
    world.send(publisher, &Packet::Publish(publish("t/1", "before")));
    assert!(spans(&mut world).is_empty());
    world.sample(Some(ALL));
    world.send(publisher, &Packet::Publish(publish("t/1", "text")));
    let spans = spans(&mut world);
    assert_eq!(kinds(&spans), [SpanKind::Send, SpanKind::Receive]);
    let [send, receive] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*send.client_id, &*receive.client_id, send.end), ("sub", "pub", DONE));
    let message = &receive.message;
    assert_eq!((&*message.topic, message.payload_bytes, message.sent_by), ("t/1", 4, None));
    assert!(receive.id == message.receive_id && send.id != receive.id && send.message == receive.message);
}

#[test]
fn its_senders_context_decides_and_goes_on() {
    let mut world = World::new();
    let publisher = world.client("pub");
    let state = ("tracestate", "a=1");
    for (sampling, pairs, is_sampled) in [
        (NONE, &[][..], false),
        (NONE, &[("traceparent", SAMPLED), state, ("tracestate", "b=2")][..], true),
        (ALL, &[("traceparent", NOT_SAMPLED)][..], false),
        (NONE, &[("Traceparent", SAMPLED)][..], false),
        (NONE, &[("traceparent", SAMPLED), ("traceparent", SAMPLED)][..], false),
        (NONE, &[("traceparent", "00-xyz")][..], false),
        (ALL, &[("traceparent", "00-xyz"), state][..], true),
    ] {
        world.sample(Some(sampling));
        let block = properties(pairs);
        world.send(publisher, &with(publish("t", "x"), &block));
        let spans = spans(&mut world);
        assert_eq!(spans.len(), usize::from(is_sampled), "{pairs:?}");
        let Some(span) = spans.first() else { continue };
        let message = &span.message;
        if sampling == ALL {
            assert_eq!((message.sent_by, &message.trace_state), (None, &None), "{pairs:?}");
        } else {
            assert_eq!((message.trace_id[0], message.sent_by.map(|id| id[0])), (0x0a, Some(0xb7)));
            assert_eq!(message.trace_state.as_deref(), Some("a=1,b=2"));
        }
    }
}

#[test]
fn of_messages_without_a_context_a_part_is_sampled() {
    let mut world = World::new();
    let publisher = world.client("pub");
    world.sample(Some(SpanSampling { below: (1 << 63) / 4, keys: [3, 4] }));
    for _ in 0..400 {
        world.send(publisher, &Packet::Publish(publish("t", "x")));
    }
    let sampled = spans(&mut world).len();
    assert!((70..130).contains(&sampled), "{sampled} of 400");
}

#[test]
fn an_acknowledged_delivery_on_another_shard_is_of_the_same_trace() {
    let mut world = World::of(2);
    let (near, far) = (world.name_on(0, "pub"), world.name_on(1, "sub"));
    let publisher = world.client(&near);
    let sub = world.connect(&v5_kept(&far));
    world.subscribe(sub, "t", 2);
    world.sample(Some(NONE));
    world.hold_store();
    let block = properties(&[("traceparent", SAMPLED)]);
    world.send(publisher, &with(publish1(7, "t", "x"), &block));
    assert!(spans(&mut world).is_empty(), "nothing has ended");
    world.later_ms(5);
    world.release_store();
    let stored = spans(&mut world);
    assert_eq!(kinds(&stored), [SpanKind::Store, SpanKind::Receive]);
    assert_eq!((stored[0].shard.0, stored[1].shard.0, stored[1].end), (0, 0, DONE));
    world.later_ms(40);
    world.ack(sub, AckKind::PubAck, 1);
    world.ack(sub, AckKind::PubAck, 1);
    let sent = spans(&mut world);
    assert_eq!(kinds(&sent), [SpanKind::Send]);
    assert_eq!((sent[0].shard.0, &*sent[0].client_id), (1, &*far));
    assert!(sent[0].message == stored[1].message && sent[0].message.trace_id[0] == 0x0a);
}

#[test]
fn a_message_that_waits_in_a_queue_has_its_span_when_it_is_sent_and_completed() {
    let mut world = World::with(1, |settings| settings.inflight_max = 1);
    let (publisher, sub) = (world.client("pub"), world.connect(&v5_kept("sub")));
    world.subscribe(sub, "t", 2);
    world.send(publisher, &Packet::Publish(publish1(1, "t", "first")));
    world.sample(Some(ALL));
    world.send(publisher, &Packet::Publish(publish2(2, "t", "second")));
    assert_eq!(kinds(&spans(&mut world)), [SpanKind::Store, SpanKind::Receive]);
    world.ack(sub, AckKind::PubAck, 1);
    assert!(spans(&mut world).is_empty(), "the first was not sampled, the second is in flight");
    world.ack(sub, AckKind::PubRec, 2);
    world.ack(sub, AckKind::PubComp, 2);
    let sent = spans(&mut world);
    assert_eq!(kinds(&sent), [SpanKind::Send]);
    assert_eq!((sent[0].qos as u8, &*sent[0].client_id), (2, "sub"));
}

#[test]
fn a_message_with_more_subscribers_than_a_turn_serves_has_so_many_spans_and_no_more() {
    let mut world = World::with(1, |settings| settings.subscribers_per_turn = 4);
    let publisher = world.client("pub");
    for number in 0..2 * u32::from(SAMPLED_DELIVERIES_MAX) {
        let sub = world.client(&format!("sub{number}"));
        world.subscribe(sub, "t", 0);
    }
    world.sample(Some(ALL));
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    let spans = spans(&mut world);
    let sent = spans.iter().filter(|span| span.kind == SpanKind::Send).count();
    assert_eq!(sent, usize::from(SAMPLED_DELIVERIES_MAX));
    assert!(spans.iter().all(|span| span.message == spans[0].message));
}

#[test]
fn a_refusal_is_told_with_its_code_and_silence_as_such() {
    let mut world = World::with(1, |settings| settings.topic_levels_max = 2);
    let (publisher, sub) = (world.client("pub"), world.client("sub"));
    world.subscribe(sub, "t", 1);
    world.sample(Some(ALL));
    world.send(publisher, &Packet::Publish(publish1(1, "a/b/c", "x")));
    let refused = spans(&mut world);
    assert_eq!(kinds(&refused), [SpanKind::Receive]);
    assert!(matches!(refused[0].end, SpanEnd::Code(code) if code.is_error()), "{refused:?}");
    world.send(publisher, &Packet::Publish(publish1(2, "t", "x")));
    assert_eq!(kinds(&spans(&mut world)), [SpanKind::Receive]);
    world.pass_s(u64::from(SPAN_MAX_S) + 2);
    let given_up = spans(&mut world);
    assert_eq!((kinds(&given_up), given_up[0].end), (vec![SpanKind::Send], SpanEnd::GivenUp));
    world.ack(sub, AckKind::PubAck, 1);
    assert!(spans(&mut world).is_empty());
}

#[test]
fn a_second_has_so_many_and_the_others_are_counted() {
    let mut world = World::new();
    let publisher = world.client("pub");
    world.sample(Some(ALL));
    for _ in 0..SAMPLED_PER_S_MAX + 3 {
        world.send(publisher, &Packet::Publish(publish("t", "x")));
    }
    assert_eq!((spans(&mut world).len(), world.spans_lost()), (SAMPLED_PER_S_MAX as usize, 3));
    world.pass_s(1);
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    assert_eq!(spans(&mut world).len(), 1);
    world.sample(None);
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    assert!(spans(&mut world).is_empty());
}

#[test]
fn a_session_that_takes_another_s_slot_ends_no_span_of_it() {
    let mut world = World::new();
    let (publisher, first) = (world.client("pub"), world.client("first"));
    world.subscribe(first, "t", 1);
    world.sample(Some(ALL));
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    world.read(first);
    world.cut(first);
    spans(&mut world);
    world.sample(Some(NONE));
    let second = world.client("second");
    world.subscribe(second, "t", 1);
    world.send(publisher, &Packet::Publish(publish1(2, "t", "y")));
    world.ack(second, AckKind::PubAck, 1);
    assert!(spans(&mut world).is_empty());
}
