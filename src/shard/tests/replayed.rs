//! What a shard has written comes to what it holds: compared after every input of every test.

use std::collections::BTreeMap;

use crate::auth::TopicDecision;
use crate::auth::acl::{RuleSet, TopicPattern};
use crate::codec::SubscriptionOptions;
use crate::ids::{MessageId, PacketId, Qos, SessionId, SubscriptionId};
use crate::session::{Delivery, Exchange, Session};
use crate::shard::Shard;
use crate::store::format::BackEndDecision;
use crate::store::state::{LogState, StoredDelivery, StoredSession};

/// A delivery as both know it.
type Known = (Option<MessageId>, Qos, bool, Option<PacketId>, bool, Vec<SubscriptionId>);

/// Compares a shard with what its log comes to.
pub(super) fn compare(shard: &Shard, state: &LogState) {
    assert_eq!(state.unmatched, 0, "a record makes no sense");
    let kept: BTreeMap<u32, &Session> = shard
        .clients
        .sessions
        .iter()
        .filter(|(_, session)| session.is_persistent())
        .map(|(id, session)| (id.0, session))
        .collect();
    let stored: BTreeMap<u32, &StoredSession> = state.sessions().map(|(id, session)| (id.0, session)).collect();
    assert!(kept.keys().eq(stored.keys()), "sessions {:?}, in the log {:?}", kept.keys(), stored.keys());
    for (slot, session) in kept {
        let stored = stored[&slot];
        assert_eq!(session.client_id, stored.client_id);
        if session.has_ended {
            assert_eq!(stored.expiry_s, 0, "{}: it is to end at once after a restart", session.client_id);
            continue;
        }
        assert_eq!(session.expiry_s, stored.expiry_s, "{}", session.client_id);
        assert_eq!(session.link.is_none(), stored.disconnected.is_some(), "{}", session.client_id);
        assert_eq!(session.will.is_some(), stored.will.is_some(), "will of {}", session.client_id);
        compare_owner(shard, SessionId(slot), stored);
        compare_subscriptions(shard, SessionId(slot), stored);
        assert_eq!(session.exchanges.len(), stored.exchanges.len(), "exchanges of {}", session.client_id);
        assert!(stored.exchanges.iter().all(|id| session.exchanges.contains(*id)));
        let (held, stored): (Vec<Known>, Vec<Known>) =
            (deliveries(session), stored.deliveries.iter().map(of_log).collect());
        assert_eq!(held, stored, "deliveries of {}, and in the log", session.client_id);
    }
    for (topic, stored) in &state.retained {
        // What has expired or was deleted is forgotten after a while.
        let Some((stamp, is_set)) = shard.router.retained.state_of(topic) else { continue };
        assert!(stamp == stored.stamp && (!is_set || stored.message.is_some()), "retained on {topic}");
    }
    for (id, wanted) in state.messages.iter() {
        assert!(state.messages.place(id).is_some(), "{id:?} is wanted {wanted} times and was never written");
    }
}

fn deliveries(session: &Session) -> Vec<Known> {
    let Some(outbound) = session.outbound() else { return Vec::new() };
    let known = |delivery: &Delivery, packet_id| {
        assert_ne!(delivery.stored_as, MessageId::NONE, "it is not in the log");
        let has_group = delivery.group != crate::topic::GroupTag::NONE;
        let ids = delivery.ids.as_slice().to_vec();
        (Some(delivery.stored_as), delivery.qos, delivery.retain, packet_id, has_group, ids)
    };
    let in_flight = outbound.window().iter().map(|(packet_id, exchange)| match exchange {
        Exchange::Published(delivery) => known(delivery, Some(packet_id)),
        Exchange::Released | Exchange::Completed => (None, Qos::ExactlyOnce, false, Some(packet_id), false, Vec::new()),
    });
    let mut on_disk = outbound.on_disk().cloned().unwrap_or_default();
    let on_disk = std::iter::from_fn(move || on_disk.pop()).map(|delivery| {
        let has_group = delivery.group != crate::topic::GroupTag::NONE;
        let ids = delivery.ids.as_slice().to_vec();
        (Some(delivery.stored_as), delivery.qos, delivery.retain, None, has_group, ids)
    });
    let queued = outbound.queue().filter(|delivery| delivery.qos > Qos::AtMostOnce);
    in_flight.chain(queued.map(|delivery| known(delivery, None))).chain(on_disk).collect()
}

fn of_log(stored: &StoredDelivery) -> Known {
    let (group, ids) = stored.extra.as_deref().map_or((None, Vec::new()), |extra| (extra.group, extra.ids.clone()));
    (stored.message, stored.qos, stored.retain, stored.packet_id, group.is_some(), ids)
}

fn compare_owner(shard: &Shard, id: SessionId, stored: &StoredSession) {
    let owner = stored.owner().expect("the log says whose each session is");
    let Some(known) = shard.clients.access.principal(id) else {
        let told = (owner.user, owner.is_superuser, owner.rules, owner.asks_back_end);
        return assert_eq!(told, (None, false, None, false), "{}", stored.client_id);
    };
    let identity = &known.identity;
    assert_eq!(owner.user, identity.user.as_deref(), "user of {}", stored.client_id);
    assert_eq!((owner.listener, owner.peer), (&*identity.listener.name, identity.peer), "{}", stored.client_id);
    assert_eq!(owner.is_superuser, known.rights.is_superuser, "{}", stored.client_id);
    let rules = owner.rules.map(|bytes| RuleSet::from_bytes(bytes).expect("rules"));
    assert_eq!(rules.as_ref(), known.rights.rules.as_deref(), "rules of {}", stored.client_id);
    assert_eq!(owner.asks_back_end, known.remote.is_some(), "{}", stored.client_id);
    let Some(remote) = known.remote.as_deref() else { return };
    let filters = stored.allowed_filters().iter().map(|filter| TopicPattern::literal(filter).expect("a filter"));
    assert!(filters.eq(remote.filters().cloned()), "filters of {}", stored.client_id);
    let Some(will) = &stored.will else { return };
    let decision = will.decision.map(|decision| match decision {
        BackEndDecision::Allow => TopicDecision::Allow,
        BackEndDecision::Deny => TopicDecision::Deny,
        BackEndDecision::Ignore => TopicDecision::Ignore,
    });
    assert_eq!(decision, remote.will_decision(), "will of {}", stored.client_id);
}

fn compare_subscriptions(shard: &Shard, id: SessionId, stored: &StoredSession) {
    let session = shard.clients.sessions.get(id);
    let mut held: BTreeMap<String, (u8, Option<SubscriptionId>)> = BTreeMap::new();
    for place in session.subscriptions.places() {
        let mut text = String::new();
        shard.router.index.filter_text(place.entry, &mut text);
        let subscriber = shard.router.index.get(place.entry, place.position);
        held.insert(text, (subscriber.options, subscriber.identifier));
    }
    let mut last_words: BTreeMap<String, Option<(u8, Option<SubscriptionId>)>> = BTreeMap::new();
    for (filter, word) in stored.subscriptions.words() {
        assert!(word.is_none_or(|word| SubscriptionOptions::from_bits(word.options).is_some()));
        last_words.insert(filter.to_owned(), word.map(|word| (word.options, word.identifier)));
    }
    let stored: BTreeMap<_, _> =
        last_words.into_iter().filter_map(|(filter, word)| word.map(|word| (filter, word))).collect();
    assert_eq!(held, stored, "subscriptions of {}, and in the log", session.client_id);
}
