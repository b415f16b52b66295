//! Who takes part: groups, the clients of this part in one row, and the streams that they publish.
//!
//! Two numberings. A client of this part has a **local** number, its index in the table of clients. In its group, over all
//! parts, it has an **index**; `%i` is that plus the group's first number. Streams are numbered over all parts alike, so that
//! a stamp means the same everywhere.

use super::content::Content;
use super::names::{Message, Name, Who};
use crate::plan::{Group, Pace, Part, Plan, Publishing, Subscription};

/// Everybody.
pub(super) struct Cast {
    pub(super) part: Part,
    pub(super) roles: Vec<Role>,
    /// Clients of this part.
    pub(super) clients: u32,
    username: Option<Name>,
    password: Option<Name>,
    /// Files of a client certificate and its key.
    files: Option<(Name, Name)>,
    /// By agent: whether it stamps with another clock than ours. Empty where all share one.
    other_clock: Vec<bool>,
}

/// One group.
pub(super) struct Role {
    pub(super) group: Group,
    /// Local number of its first client here.
    pub(super) first_local: u32,
    /// Clients here.
    pub(super) here: u32,
    pub(super) client_id: Name,
    pub(super) filters: Vec<(Name, Subscription)>,
    pub(super) publishing: Option<PublishingRole>,
    pub(super) keeps_session: bool,
    /// It publishes in the closed loop.
    pub(super) is_closed: bool,
}

/// What one group publishes.
pub(super) struct PublishingRole {
    pub(super) topic: Name,
    pub(super) what: Publishing,
    /// Each message has a topic of its own.
    pub(super) is_sequenced: bool,
    /// What payloads hold, in turn; empty: a pattern.
    pub(super) contents: Vec<Content>,
    pub(super) first_stream: u32,
    pub(super) streams: u32,
}

impl Cast {
    pub(super) fn new(plan: &Plan) -> Self {
        let is_v5 = plan.target.version == crate::plan::MqttVersion::V5;
        let (mut clients, mut streams) = (0, 0);
        let mut roles = Vec::with_capacity(plan.groups.len());
        for group in &plan.groups {
            let publishing = group.publishing.as_ref().map(|what| {
                let count = what.targets.map_or(group.clients, |targets| targets.count);
                let topic = Name::new(&what.topic);
                let role = PublishingRole {
                    is_sequenced: topic.has_sequence(),
                    contents: what.content.iter().map(Content::new).collect(),
                    topic,
                    what: what.clone(),
                    first_stream: streams,
                    streams: count,
                };
                streams += count;
                role
            });
            let here = plan.part.count(group.clients) as u32;
            roles.push(Role {
                group: group.clone(),
                first_local: clients,
                here,
                client_id: Name::new(&group.client_id),
                filters: group.subscriptions.iter().map(|one| (Name::new(&one.filter), one.clone())).collect(),
                publishing,
                keeps_session: group.keeps_session(is_v5),
                is_closed: matches!(&group.publishing, Some(what) if matches!(what.pace, Pace::Closed { .. })),
            });
            clients += here;
        }
        let ours = plan.clocks.get(plan.part.index as usize % plan.clocks.len().max(1));
        let other_clock: Vec<bool> = plan.clocks.iter().map(|clock| Some(clock) != ours).collect();
        let other_clock = if other_clock.contains(&true) { other_clock } else { Vec::new() };
        let username = plan.target.username.as_ref().map(Name::new);
        let password = plan.target.password.as_ref().map(Name::new);
        let files = plan.target.tls.as_ref().and_then(|tls| tls.certificate.as_ref().zip(tls.key.as_ref()));
        let files = files.map(|(certificate, key)| (Name::new(certificate), Name::new(key)));
        Self { part: plan.part, roles, clients, username, password, files, other_clock }
    }

    /// Whether a stream's stamps were made by the clock that we read.
    #[inline]
    pub(super) fn shares_clock(&self, role: usize, stream: u32) -> bool {
        self.other_clock.is_empty() || !self.is_of_another_clock(role, stream)
    }

    fn is_of_another_clock(&self, role: usize, stream: u32) -> bool {
        // An agent's threads are parts of its part: what a client's number leaves over names the agent all the same.
        self.other_clock[self.publisher_index(role, stream) as usize % self.other_clock.len()]
    }

    /// By a client's local number.
    #[inline]
    pub(super) fn role_of(&self, client: u32) -> usize {
        let mut role = 0;
        while client >= self.roles[role].first_local + self.roles[role].here {
            role += 1;
        }
        role
    }

    /// A client's index in its group.
    #[inline]
    pub(super) fn index_of(&self, role: usize, client: u32) -> u32 {
        (client - self.roles[role].first_local) * self.part.of + self.part.index
    }

    /// The role that publishes a stream.
    #[inline]
    pub(super) fn role_of_stream(&self, stream: u32) -> Option<usize> {
        let has = |publishing: &PublishingRole| {
            stream >= publishing.first_stream && stream - publishing.first_stream < publishing.streams
        };
        self.roles.iter().position(|role| role.publishing.as_ref().is_some_and(has))
    }

    /// The local number of the client that publishes a stream, if it is of this part.
    #[inline]
    pub(super) fn publisher_of(&self, role: usize, stream: u32) -> Option<u32> {
        let index = self.publisher_index(role, stream);
        self.part.has(index).then(|| self.roles[role].first_local + index / self.part.of)
    }

    /// The index in its group of the client that publishes a stream.
    #[inline]
    pub(super) fn publisher_index(&self, role: usize, stream: u32) -> u32 {
        let role = &self.roles[role];
        let first = role.publishing.as_ref().map_or(0, |publishing| publishing.first_stream);
        (stream - first) % role.group.clients
    }

    /// Appends a client's id.
    pub(super) fn write_client_id(&self, role: usize, index: u32, out: &mut String) {
        self.roles[role].client_id.write(out, self.who(role, index), Message::default());
    }

    /// Appends a client's user name; false if it has none.
    pub(super) fn write_username(&self, role: usize, index: u32, out: &mut String) -> bool {
        let Some(username) = &self.username else { return false };
        username.write(out, self.who(role, index), Message::default());
        true
    }

    pub(super) const fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Appends a client's password, if it has one.
    pub(super) fn write_password(&self, role: usize, index: u32, out: &mut String) {
        if let Some(password) = &self.password {
            password.write(out, self.who(role, index), Message::default());
        }
    }

    /// The files of a client's certificate and its key.
    pub(super) fn files(&self, client: u32) -> (String, String) {
        let Some((certificate, key)) = &self.files else { return Default::default() };
        let role = self.role_of(client);
        let index = self.index_of(role, client);
        (self.written(certificate, role, index), self.written(key, role, index))
    }

    /// A name as it is for a client.
    pub(super) fn written(&self, name: &Name, role: usize, index: u32) -> String {
        let mut text = String::new();
        name.write(&mut text, self.who(role, index), Message::default());
        text
    }

    /// Appends one of a client's filters.
    pub(super) fn write_filter(&self, role: usize, index: u32, filter: usize, out: &mut String) {
        self.roles[role].filters[filter].0.write(out, self.who(role, index), Message::default());
    }

    /// Appends the topic of a stream's message.
    pub(super) fn write_topic(&self, role: usize, stream: u32, sequence: u32, out: &mut String) {
        if let Some((publishing, who, message)) = self.author(role, stream, sequence) {
            publishing.topic.write(out, who, message);
        }
    }

    /// Who publishes a message, and which one it is, for names and contents.
    pub(super) fn author(
        &self,
        role: usize,
        stream: u32,
        sequence: u32,
    ) -> Option<(&PublishingRole, Who<'_>, Message)> {
        let publishing = self.roles[role].publishing.as_ref()?;
        let at = stream - publishing.first_stream;
        let first = publishing.what.targets.map_or(0, |targets| targets.first);
        let who = self.who(role, at % self.roles[role].group.clients);
        Some((publishing, who, Message { target: first + u64::from(at), sequence }))
    }

    /// Whether anybody publishes a content.
    pub(super) fn has_contents(&self) -> bool {
        let of = |role: &Role| role.publishing.as_ref().is_some_and(|publishing| !publishing.contents.is_empty());
        self.roles.iter().any(of)
    }

    fn who(&self, role: usize, index: u32) -> Who<'_> {
        let role = &self.roles[role];
        let number = role.group.first + u64::from(index);
        Who { number, client_id: &role.client_id, username: self.username.as_ref() }
    }
}
