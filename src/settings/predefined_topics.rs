//! Topic ids of MQTT-SN that clients and broker know beforehand: a file of the operator's.
//!
//! Always holds: what is in it can be published to, and no id stands twice.

use std::collections::HashMap;

/// Ids that both sides know without registering them: a file of the operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PredefinedTopics {
    names: HashMap<u16, Box<str>>,
}

impl PredefinedTopics {
    /// Reads lines of an id and a topic; `#` at the beginning of a line makes it a remark. Told is the line that is wrong, and why.
    ///
    /// # Errors
    /// A line is neither, an id or a topic is none, or an id stands twice.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut names = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, name) = read_line(line).map_err(|why| (number, why))?;
            if names.insert(id, name.into()).is_some() {
                return Err((number, format!("the id {id} stands twice")));
            }
        }
        Ok(Self { names })
    }

    /// What an id means.
    pub fn name(&self, id: u16) -> Option<&str> {
        self.names.get(&id).map(|name| &**name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

fn read_line(line: &str) -> Result<(u16, &str), String> {
    let (id, name) =
        line.split_once(char::is_whitespace).ok_or("it is no id and a topic, as in `7 sensors/temperature`")?;
    let name = name.trim();
    let id = id.parse().ok().filter(|id| is_id(*id)).ok_or_else(|| format!("{id:?} is no id: 1 to 65534"))?;
    if is_topic_name(name) { Ok((id, name)) } else { Err(format!("{name:?} is no topic that can be published to")) }
}

/// Whether an id can be given: the first and the last are reserved.
const fn is_id(id: u16) -> bool {
    id != 0 && id != u16::MAX
}

/// Whether a text that MQTT takes can be published to.
pub fn is_topic_name(name: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&name.len()) && !name.contains(['+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_an_id_and_a_topic_a_line() {
        let topics = PredefinedTopics::parse("# of the fleet\n\n7 sensors/temperature\n  8\t with blanks \n").unwrap();
        assert_eq!(
            (topics.name(7), topics.name(8), topics.name(9)),
            (Some("sensors/temperature"), Some("with blanks"), None)
        );
        assert_eq!((topics.len(), topics.is_empty()), (2, false));
        for (text, line) in
            [("7", 1), ("a b", 1), ("1 a\n0 b", 2), ("65535 a", 1), ("1 a/#", 1), ("1 a\n1 b", 2), ("-1 a", 1)]
        {
            assert_eq!(PredefinedTopics::parse(text).unwrap_err().0, line, "{text:?}");
        }
    }
}
