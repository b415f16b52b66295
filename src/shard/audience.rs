//! Who is subscribed: to a filter, to what a topic matches, to anything.
//!
//! Always holds: what fits into one page comes in one. More is a walk over the sessions by their slots, so that a subscription that is there all
//! the time is met once whatever comes and goes; one page looks at so many slots and subscriptions and no more.

use super::Shard;
use super::command::{ClientCursor, PAGE_MAX, PAGE_MAX_BYTES, Reply, SLOTS_PER_PAGE};
use super::deliver::options_of;
use super::shown::{Audience, GroupRow, SubscriptionRow};
use crate::ids::SessionId;
use crate::limits::AUDIENCE_FILTERS_MAX;
use crate::session::{Place, Subscriptions};
use crate::topic::{EntryId, Interest, Matches, SubscribedFilter, TopicName};

/// Looks whether a session has one of the filters, of one page.
const LOOKS_PER_PAGE: usize = 8_192;
/// Subscriptions of a session that are looked at one by one.
const PLACES_LOOKED_AT: usize = 16;

impl Shard {
    pub(super) fn list_audience(&self, of: &Audience, after: Option<ClientCursor>, limit: u16) -> Reply {
        let limit = usize::from(limit.clamp(1, PAGE_MAX));
        let levels_max = self.clients.settings.topic_levels_max;
        let mut topic = None;
        let entries = match of {
            Audience::All => return self.list_all_subscriptions(after, limit),
            Audience::Filter(filter) => match SubscribedFilter::parse(filter, levels_max) {
                Ok(filter) => self.router.index.find(&filter).into_iter().collect(),
                Err(_) => return Reply::Refused("the filter is no topic filter"),
            },
            Audience::Topic(asked) => match TopicName::parse(asked, levels_max) {
                Ok(name) => match self.entries_of(name) {
                    Some(entries) => {
                        topic = Some(&**asked);
                        entries
                    }
                    None => {
                        return Reply::Refused("more filters match the topic than are looked for: ask for one of them");
                    }
                },
                Err(_) => return Reply::Refused("the topic is no topic name"),
            },
        };
        if after.is_none()
            && let Some(page) = self.whole_audience(&entries, topic, limit)
        {
            return Reply::Audience { page, next: None };
        }
        self.walk_audience(&entries, topic, after, limit)
    }

    /// Each filter that a topic matches and that somebody of this shard is subscribed to, in order. `None` where these are too many.
    fn entries_of(&self, topic: TopicName<'_>) -> Option<Vec<EntryId>> {
        let mut matches = Matches::new();
        matches.copied_max = 0;
        self.router.index.matches(topic, &mut matches);
        let Matches { mut entries, groups, .. } = matches;
        if entries.len() + groups.len() > AUDIENCE_FILTERS_MAX {
            return None;
        }
        entries.extend(groups);
        entries.sort_unstable();
        Some(entries)
    }

    /// All of it, where it fits into one page.
    fn whole_audience(&self, entries: &[EntryId], topic: Option<&str>, limit: usize) -> Option<Vec<SubscriptionRow>> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        for &entry in entries {
            let subscribers = match self.router.index.interest(entry) {
                Interest::Shared { total, .. } => total,
                Interest::Plain { .. } => self.router.index.subscribers_count(entry),
            };
            if page.len() + subscribers as usize > limit {
                return None;
            }
            for position in 0..subscribers {
                let id = self.router.index.get(entry, position).session;
                bytes += self.add_row(&mut page, id, (entry, position), topic);
                if bytes > PAGE_MAX_BYTES {
                    return None;
                }
            }
        }
        Some(page)
    }

    /// A part of it, session by session.
    fn walk_audience(
        &self,
        entries: &[EntryId],
        topic: Option<&str>,
        after: Option<ClientCursor>,
        limit: usize,
    ) -> Reply {
        let ClientCursor { next, end, within } = after.unwrap_or_else(|| self.first_slot());
        let (mut page, mut bytes, mut looks) = (Vec::new(), 0, 0);
        let mut within = within as usize;
        for slot in next..end.min(next.saturating_add(SLOTS_PER_PAGE)) {
            let id = SessionId(slot);
            let session = self.clients.sessions.try_get(id).filter(|session| !session.has_ended);
            let may_have_one = |places: &&Subscriptions| {
                let has = |place: &Place| entries.binary_search(&place.entry).is_ok();
                // A few are held against all filters at once.
                places.len() > entries.len().min(PLACES_LOOKED_AT) || places.places().iter().any(has)
            };
            let Some(places) = session.map(|session| &session.subscriptions).filter(may_have_one) else {
                within = 0;
                continue;
            };
            for (at, &entry) in entries.iter().enumerate().skip(within) {
                if page.len() >= limit || bytes >= PAGE_MAX_BYTES || looks >= LOOKS_PER_PAGE {
                    return Reply::Audience { page, next: Some(ClientCursor { next: slot, end, within: at as u32 }) };
                }
                looks += 1;
                if let Some(position) = places.position(entry) {
                    bytes += self.add_row(&mut page, id, (entry, position), topic);
                }
            }
            within = 0;
        }
        let slot = end.min(next.saturating_add(SLOTS_PER_PAGE));
        Reply::Audience { page, next: (slot < end).then_some(ClientCursor { next: slot, end, within: 0 }) }
    }

    /// A part of all subscriptions: of each session from the last to the first, so that those not reached keep their numbers.
    fn list_all_subscriptions(&self, after: Option<ClientCursor>, limit: usize) -> Reply {
        let ClientCursor { next, end, within } = after.unwrap_or_else(|| self.first_slot());
        let (mut page, mut bytes, mut left) = (Vec::new(), 0, within as usize);
        let until = end.min(next.saturating_add(SLOTS_PER_PAGE));
        for slot in next..until {
            let id = SessionId(slot);
            let session = self.clients.sessions.try_get(id).filter(|session| !session.has_ended);
            let places = session.map_or(&[][..], |session| session.subscriptions.places());
            let begin = if left > 0 { left.min(places.len()) } else { places.len() };
            left = 0;
            for (at, place) in places[..begin].iter().enumerate().rev() {
                if page.len() >= limit || bytes >= PAGE_MAX_BYTES {
                    return Reply::Audience {
                        page,
                        next: Some(ClientCursor { next: slot, end, within: at as u32 + 1 }),
                    };
                }
                bytes += self.add_row(&mut page, id, (place.entry, place.position), None);
            }
        }
        Reply::Audience { page, next: (until < end).then_some(ClientCursor { next: until, end, within: 0 }) }
    }

    const fn first_slot(&self) -> ClientCursor {
        ClientCursor { next: 0, end: self.clients.sessions.slots(), within: 0 }
    }

    /// Adds one subscription to a page, unless its session has ended. Returns its bytes. `topic`: that was asked for.
    pub(super) fn add_row(
        &self,
        page: &mut Vec<SubscriptionRow>,
        id: SessionId,
        (entry, position): (EntryId, u32),
        topic: Option<&str>,
    ) -> usize {
        let session = self.clients.sessions.get(id);
        if session.has_ended {
            return 0;
        }
        let mut filter = String::new();
        self.router.index.filter_text(entry, &mut filter);
        let subscriber = self.router.index.get(entry, position);
        let bytes = filter.len() + session.client_id.len();
        page.push(SubscriptionRow {
            client_id: session.client_id.clone(),
            is_connected: session.link.is_some(),
            filter: filter.into(),
            options: options_of(subscriber),
            identifier: subscriber.identifier,
            picked: self.router.index.picked(entry, position),
            may_receive: topic.map(|topic| self.clients.would_receive(id, topic)),
        });
        bytes
    }

    /// A page of the shared subscriptions of all shards.
    pub(super) fn list_groups(&self, first: u32, limit: u16) -> Reply {
        let limit = usize::from(limit.clamp(1, PAGE_MAX));
        let slots = self.router.index.group_slots();
        let (mut page, mut bytes, mut slot) = (Vec::new(), 0, first);
        let until = slots.min(first.saturating_add(SLOTS_PER_PAGE));
        while slot < until && page.len() < limit && bytes < PAGE_MAX_BYTES {
            if let Some((filter, members, connected)) = self.router.index.group_at(slot) {
                bytes += filter.len();
                page.push(GroupRow { filter: filter.into(), members, connected });
            }
            slot += 1;
        }
        Reply::Groups { page, next: (slot < slots).then_some(slot) }
    }
}
