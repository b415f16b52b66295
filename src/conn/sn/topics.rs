//! Topic ids: what a client and the gateway have agreed to call topics on one connection, and what both have known before.
//!
//! Always holds: an id that the client knows never means another topic without its word; an id that the client registered is its own
//! as long as it is connected, one that it subscribed to until it unsubscribes; what is refused takes none; there are at most [`SN_TOPICS_MAX`] names with [`SN_TOPICS_MAX_BYTES`] together.

use super::message::TopicRef;
use crate::limits::{SN_TOPICS_MAX, SN_TOPICS_MAX_BYTES};
use crate::settings::{PredefinedTopics, is_topic_name};

/// One id of a connection.
#[derive(Clone, Debug)]
struct SnTopic {
    name: Box<str>,
    /// The client has asked for it, or has been told it and has said so.
    is_known: bool,
    /// The client has asked for it.
    is_registered: bool,
    /// The client is subscribed to it, and was told it for that.
    is_subscribed: bool,
    /// How many subscriptions to it are not decided about.
    undecided: u8,
}

impl SnTopic {
    fn new(name: &str) -> Self {
        Self { name: name.into(), is_known: false, is_registered: false, is_subscribed: false, undecided: 0 }
    }

    const fn is_clients(&self) -> bool {
        self.is_registered || self.is_subscribed || self.undecided > 0
    }
}

/// The ids of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct SnTopics {
    /// The id of the first is 1.
    list: Vec<SnTopic>,
    bytes: u32,
    /// Where the search for an id that may mean something else goes on.
    hand: u16,
    /// Ids of what is under way to the client: sent again, they are to mean the same.
    under_way: [u16; 2],
    /// Predefined ids that the client has used, and so knows.
    predefined: Vec<u16>,
}

/// How a topic can be named to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// So.
    Known(TopicRef),
    /// By this id as soon as the client has been told it.
    Register(u16),
    /// Not at all: there is no id left for it.
    Full,
}

impl SnTopics {
    /// What a reference of the client's means, where it means something.
    pub(super) fn name<'a>(
        &'a self,
        topic: TopicRef,
        predefined: &'a PredefinedTopics,
        short: &'a mut String,
    ) -> Option<&'a str> {
        match topic {
            TopicRef::Normal(id) => {
                let topic = self.list.get(usize::from(id).checked_sub(1)?)?;
                topic.is_known.then_some(&*topic.name)
            }
            TopicRef::Predefined(id) => predefined.name(id),
            TopicRef::Short(octets) => {
                let name = str::from_utf8(&octets).ok().filter(|name| is_topic_name(name))?;
                short.clear();
                short.push_str(name);
                Some(short)
            }
        }
    }

    /// The name that is to be registered again under an id.
    pub(super) fn name_of(&self, id: u16) -> Option<&str> {
        Some(&*self.list.get(usize::from(id).checked_sub(1)?)?.name)
    }

    /// Keeps ids of what is under way from meaning anything else; 0 is none. Whoever asks for an id says so before.
    pub(super) const fn keep(&mut self, under_way: [u16; 2]) {
        self.under_way = under_way;
    }

    /// The client asks for an id. `None`: there is none left.
    pub(super) fn register(&mut self, name: &str) -> Option<u16> {
        let id = self.find(name).or_else(|| self.add(name))?;
        let topic = &mut self.list[usize::from(id) - 1];
        (topic.is_known, topic.is_registered) = (true, true);
        Some(id)
    }

    /// The client asks to be subscribed to a topic, whose id waits for what is decided. `None`: there is none left.
    pub(super) fn begin_subscribe(&mut self, name: &str) -> Option<u16> {
        let id = self.find(name).or_else(|| self.add(name))?;
        let topic = &mut self.list[usize::from(id) - 1];
        topic.undecided = topic.undecided.saturating_add(1);
        Some(id)
    }

    /// It is decided whether the client is subscribed, and it is told the id if so.
    pub(super) fn finish_subscribe(&mut self, id: u16, is_accepted: bool) {
        if let Some(topic) = self.topic_mut(id) {
            topic.undecided = topic.undecided.saturating_sub(1);
            topic.is_known |= is_accepted;
            topic.is_subscribed |= is_accepted;
        }
    }

    /// The client is not subscribed to a topic any more. It knows the id until that is needed for another.
    pub(super) fn unsubscribe(&mut self, name: &str) {
        if let Some(topic) = self.find(name).and_then(|id| self.topic_mut(id)) {
            topic.is_subscribed = false;
        }
    }

    /// How a topic is named to the client, with an id for it if need be.
    pub(super) fn naming(&mut self, name: &str, predefined: &PredefinedTopics) -> Naming {
        if let Ok(octets) = <[u8; 2]>::try_from(name.as_bytes()) {
            return Naming::Known(TopicRef::Short(octets));
        }
        if let Some(&id) = self.predefined.iter().find(|id| predefined.name(**id) == Some(name)) {
            return Naming::Known(TopicRef::Predefined(id));
        }
        match self.find(name).or_else(|| self.add(name)) {
            Some(id) if self.list[usize::from(id) - 1].is_known => Naming::Known(TopicRef::Normal(id)),
            Some(id) => Naming::Register(id),
            None => Naming::Full,
        }
    }

    /// The client has said that it knows an id.
    pub(super) fn confirm(&mut self, id: u16) {
        self.set_known(id, true);
    }

    /// The client has said that it does not know an id.
    pub(super) fn forget(&mut self, id: u16) {
        self.set_known(id, false);
    }

    /// The client has connected anew: it knows what it has asked for itself, and may have forgotten the rest.
    pub(super) fn forget_told(&mut self) {
        for topic in self.list.iter_mut().filter(|topic| !topic.is_clients()) {
            topic.is_known = false;
        }
    }

    /// The client has used a predefined id.
    pub(super) fn use_predefined(&mut self, id: u16) {
        if !self.predefined.contains(&id) && self.predefined.len() < SN_TOPICS_MAX {
            self.predefined.push(id);
        }
    }

    fn set_known(&mut self, id: u16, is_known: bool) {
        if let Some(topic) = self.topic_mut(id) {
            topic.is_known = is_known;
        }
    }

    fn topic_mut(&mut self, id: u16) -> Option<&mut SnTopic> {
        self.list.get_mut(usize::from(id).checked_sub(1)?)
    }

    fn find(&self, name: &str) -> Option<u16> {
        Some(self.list.iter().position(|topic| &*topic.name == name)? as u16 + 1)
    }

    fn add(&mut self, name: &str) -> Option<u16> {
        let has_room = |bytes: u32| bytes as usize + name.len() <= SN_TOPICS_MAX_BYTES;
        if self.list.len() < SN_TOPICS_MAX && has_room(self.bytes) {
            self.bytes += name.len() as u32;
            self.list.push(SnTopic::new(name));
            return Some(self.list.len() as u16);
        }
        // One that the client need not have means something else from now on; it is told before that is used.
        for _ in 0..self.list.len() {
            let at = usize::from(self.hand) % self.list.len();
            self.hand = at as u16 + 1;
            let topic = &mut self.list[at];
            let is_needed = topic.is_clients() || self.under_way.contains(&(at as u16 + 1));
            if !is_needed && has_room(self.bytes - topic.name.len() as u32) {
                self.bytes = self.bytes - topic.name.len() as u32 + name.len() as u32;
                *topic = SnTopic::new(name);
                return Some(at as u16 + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> PredefinedTopics {
        PredefinedTopics::parse(text).unwrap()
    }

    #[test]
    fn an_id_is_known_when_the_client_has_asked_for_it_or_confirmed_it() {
        let (mut topics, none) = (SnTopics::default(), PredefinedTopics::default());
        let mut short = String::new();
        assert_eq!(topics.naming("a/b", &none), Naming::Register(1));
        assert_eq!(topics.name(TopicRef::Normal(1), &none, &mut short), None, "not before it is confirmed");
        topics.confirm(1);
        assert_eq!(topics.naming("a/b", &none), Naming::Known(TopicRef::Normal(1)));
        assert_eq!(topics.register("c/d"), Some(2));
        assert_eq!(topics.name(TopicRef::Normal(2), &none, &mut short), Some("c/d"));
        assert_eq!(topics.register("a/b"), Some(1), "the same topic has the same id");
        topics.forget(1);
        assert_eq!(topics.naming("a/b", &none), Naming::Register(1));
        for id in [0, 3, u16::MAX] {
            assert_eq!(topics.name(TopicRef::Normal(id), &none, &mut short), None);
        }
    }

    #[test]
    fn two_octets_are_their_own_name_and_predefined_ids_are_used_where_the_client_has() {
        let (mut topics, known) = (SnTopics::default(), file("9 a/b"));
        let mut short = String::new();
        assert_eq!(topics.naming("ab", &known), Naming::Known(TopicRef::Short(*b"ab")));
        assert_eq!(topics.name(TopicRef::Short(*b"ab"), &known, &mut short), Some("ab"));
        assert_eq!(topics.name(TopicRef::Short(*b"a#"), &known, &mut short), None);
        assert_eq!(topics.name(TopicRef::Short(*b"\xff\xff"), &known, &mut short), None);
        assert_eq!(topics.naming("a/b", &known), Naming::Register(1));
        topics.use_predefined(9);
        assert_eq!(topics.naming("a/b", &known), Naming::Known(TopicRef::Predefined(9)));
        assert_eq!(topics.name(TopicRef::Predefined(9), &known, &mut short), Some("a/b"));
    }

    #[test]
    fn ids_are_bounded_and_those_that_the_gateway_gave_are_used_again() {
        let (mut topics, none) = (SnTopics::default(), PredefinedTopics::default());
        assert_eq!(topics.register("mine"), Some(1));
        for number in 0..SN_TOPICS_MAX * 3 {
            let Naming::Register(id) = topics.naming(&format!("t/{number}"), &none) else { panic!("{number}") };
            assert!(id > 1 && usize::from(id) <= SN_TOPICS_MAX, "{id}");
            topics.confirm(id);
        }
        assert_eq!(topics.register("mine"), Some(1));
        for number in 0..SN_TOPICS_MAX {
            topics.register(&format!("m/{number}"));
        }
        assert_eq!((topics.register("one/more"), topics.naming("one/more", &none)), (None, Naming::Full));
        let mut long = SnTopics::default();
        assert_eq!(long.register(&"x".repeat(SN_TOPICS_MAX_BYTES)), Some(1));
        assert_eq!((long.register("y"), long.bytes as usize), (None, SN_TOPICS_MAX_BYTES));
    }
}
