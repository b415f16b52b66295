//! Topic aliases (MQTT 5.0, 3.3.2.3.4). They end with the connection [MQTT-3.3.2-7] and are allocated as they are used.

use crate::ids::TopicAlias;

/// What the client's aliases stand for.
#[derive(Debug, Default)]
pub struct AliasesIn(Vec<Option<Box<str>>>);

impl AliasesIn {
    /// Lets `alias` stand for `topic` from now on. The caller has checked `alias` against what was announced.
    pub fn set(&mut self, alias: TopicAlias, topic: &str) {
        let index = usize::from(alias.get()) - 1;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if self.0[index].as_deref() != Some(topic) {
            self.0[index] = Some(topic.into());
        }
    }

    /// What `alias` stands for.
    pub fn get(&self, alias: TopicAlias) -> Option<&str> {
        self.0.get(usize::from(alias.get()) - 1)?.as_deref()
    }
}

/// Aliases that the broker gave to topics. First come, first served: a device's few topics are the ones that repeat.
#[derive(Debug, Default)]
pub struct AliasesOut(Vec<Box<str>>);

/// How a topic goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicForm {
    /// The name alone.
    Name,
    /// The name together with an alias that the client learns by it.
    NameAndAlias(TopicAlias),
    /// The alias alone.
    Alias(TopicAlias),
}

impl AliasesOut {
    /// The form in which `topic` would go out now under the client's limit of `max` aliases. Nothing is remembered
    /// yet: the packet may still turn out not to be sent.
    pub fn form(&self, topic: &str, max: u16) -> TopicForm {
        match self.0.iter().position(|known| **known == *topic) {
            Some(index) => TopicForm::Alias(alias_at(index)),
            None if self.0.len() < usize::from(max) => TopicForm::NameAndAlias(alias_at(self.0.len())),
            None => TopicForm::Name,
        }
    }

    /// A packet in the form [`TopicForm::NameAndAlias`] is on its way.
    pub fn sent(&mut self, topic: &str) {
        self.0.push(topic.into());
    }
}

fn alias_at(index: usize) -> TopicAlias {
    u16::try_from(index + 1).ok().and_then(TopicAlias::new).expect("at most 65,535 aliases exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(number: u16) -> TopicAlias {
        TopicAlias::new(number).unwrap()
    }

    #[test]
    fn an_incoming_alias_is_replaced_by_its_newest_topic() {
        let mut aliases = AliasesIn::default();
        assert_eq!(aliases.get(alias(3)), None);
        aliases.set(alias(3), "a");
        aliases.set(alias(3), "b");
        assert_eq!((aliases.get(alias(3)), aliases.get(alias(1))), (Some("b"), None));
    }

    #[test]
    fn outgoing_aliases_stay_within_the_clients_maximum() {
        let mut aliases = AliasesOut::default();
        assert_eq!(aliases.form("a", 0), TopicForm::Name);
        assert_eq!(aliases.form("a", 1), TopicForm::NameAndAlias(alias(1)));
        aliases.sent("a");
        assert_eq!(aliases.form("a", 1), TopicForm::Alias(alias(1)));
        assert_eq!(aliases.form("b", 1), TopicForm::Name);
    }
}
