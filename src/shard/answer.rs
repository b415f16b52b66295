//! How a shard answers commands: at once where that is little, a page or a slice at a time where it may be much.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::clients::Clients;
use super::command::{
    Command, EdgeFacts, PAGE_MAX, PAGE_MAX_BYTES, PAYLOAD_SHOWN_MAX_BYTES, Reply, RequestId, RetainedSummary,
    SessionFate, TopBy, TopicsBy,
};
use super::drain::Drain;
use super::mesh::MeshMessage;
use super::outgoing::Fanout;
use super::policy::NO_ROOM_TO_KEEP;
use super::retained::Page;
use super::route::MessageOrigin;
use super::router::Router;
use super::top::TopWalk;
use super::{Settings, Shard, ShownProperties, Turn};
use crate::codec::ReasonCode;
use crate::ids::{ShardSet, WriteStamp};
use crate::limits::{COMMANDS_UNDER_WAY_MAX, TOPICS_SEEN_MAX};
use crate::session::{Message, Routed};
use crate::store::format::LogRecord;
use crate::telemetry::{CloseReason, Report, TransportCounters};
use crate::time::Now;
use crate::topic::{Cursor, Scan, TopicFilter, TopicName};

/// Commands that go on with the shard's ticks.
#[derive(Debug, Default)]
pub(super) struct CommandsUnderWay(VecDeque<CommandUnderWay>);

/// One of them.
#[derive(Debug)]
enum CommandUnderWay {
    Deletion(Deletion),
    Top(TopWalk),
}

impl CommandsUnderWay {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Retained messages being deleted.
#[derive(Debug)]
struct Deletion {
    request: RequestId,
    filter: Box<str>,
    cursor: Cursor,
    /// The store's count of writes when the command came: later ones stay.
    as_of: u64,
    deleted: u64,
}

/// Retained entries that one slice of a deletion looks at.
const ENTRIES_PER_SLICE: usize = 1_024;
/// Retained messages that one slice deletes.
const DELETIONS_PER_SLICE: usize = 128;

impl Shard {
    pub(super) fn handle_command(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        command: Command,
        edge: &dyn EdgeFacts,
    ) {
        let reply = match command {
            Command::Reload(settings) => self.reload(turn, settings),
            Command::UseRules(rules) => {
                self.use_rules(rules);
                Reply::Done
            }
            Command::UseProfiles(profiles) => {
                self.clients.profiled.replace(profiles);
                Reply::Done
            }
            Command::UseBans(bans) => {
                self.bans = bans;
                Reply::Done
            }
            Command::UseBanList(list) => {
                self.ban_list = list;
                Reply::Done
            }
            Command::Drain(plan) => {
                self.drain = plan.map(Drain::new);
                Reply::Done
            }
            Command::SetListener { .. } | Command::ChangeListeners => Reply::Done, // the edge has seen to it
            Command::UseCluster(view) => self.use_cluster(turn, view),
            Command::ForgetSlot(slot) => match self.begin_forgetting(turn, request, slot) {
                Ok(()) => return, // it is answered when all have
                Err(reply) => reply,
            },
            Command::CloseRanges(ranges) => match self.begin_closing(turn, request, ranges) {
                Ok(()) => return, // it is answered when they are closed
                Err(reply) => reply,
            },
            Command::Counts => Reply::Counts(Box::new(self.report(edge.transport()))),
            Command::ListClients { after, limit, filter } => self.list_clients(&filter, after, (limit, edge)),
            Command::DescribeClient { client_id } => self.describe_client(turn.now, &client_id, edge),
            Command::ListAudience { of, after, limit } => self.list_audience(&of, after, limit),
            Command::ListGroups { first, limit } => self.list_groups(first, limit),
            Command::ListTop { by, limit } => match self.begin_top(turn.now, request, by, limit) {
                Ok(()) => return,
                Err(reply) => reply,
            },
            Command::ListTopics { by, limit } => self.list_topics(turn.now, by, limit),
            Command::ListSubscriptions { client_id, first } => self.list_subscriptions(&client_id, first),
            Command::Disconnect { client_id, session, reason } => {
                self.disconnect_client(turn, &client_id, session, reason.as_deref())
            }
            Command::Publish(message) => self.publish_for_operator(turn, &message),
            Command::ListRetained { filter, cursor, limit } => self.list_retained(turn, &filter, cursor, limit),
            Command::DeleteRetained { filter } => match self.begin_deletion(request, filter) {
                Ok(()) => return, // it is answered when it is done
                Err(reply) => reply,
            },
        };
        turn.fx.replies.push((request, reply));
    }

    /// All the shard's numbers.
    pub(super) fn report(&self, transport: &TransportCounters) -> Report {
        Report {
            counters: self.clients.counters.clone(),
            transport: transport.clone(),
            gauges: self.gauges(),
            ..Report::default()
        }
    }

    fn reload(&mut self, turn: &Turn<'_>, settings: Arc<Settings>) -> Reply {
        assert_eq!(settings.shards, self.clients.settings.shards, "the number of shards is settled at start");
        self.clients.queues.memory().set_max_bytes(settings.queued_memory_max_bytes);
        self.sys.set_interval_s(turn.now, settings.sys_interval_s);
        self.clients.settings = settings;
        Reply::Done
    }

    fn list_subscriptions(&self, client_id: &str, first: u32) -> Reply {
        let Some(id) = self.clients.sessions.find(client_id) else { return Reply::NotFound };
        let subscriptions = &self.clients.sessions.get(id).subscriptions;
        let (mut page, mut bytes, mut next) = (Vec::new(), 0, None);
        for place in subscriptions.page(first, usize::from(PAGE_MAX) + 1) {
            if page.len() == usize::from(PAGE_MAX) || bytes >= PAGE_MAX_BYTES {
                next = Some(place.entry.order());
                break;
            }
            bytes += self.add_row(&mut page, id, (place.entry, place.position), None);
        }
        Reply::Subscriptions { page, total: subscriptions.len() as u32, next }
    }

    fn disconnect_client(
        &mut self,
        turn: &mut Turn<'_>,
        client_id: &str,
        fate: SessionFate,
        reason: Option<&str>,
    ) -> Reply {
        const TEXT: &str = "an operator closed the connection";
        let Some(id) = self.clients.sessions.find(client_id) else { return Reply::NotFound };
        if self.clients.sessions.get(id).link.is_some() {
            let text = reason.map_or(Cow::Borrowed(TEXT), |reason| format!("{TEXT}: {reason}").into());
            let reason = CloseReason::AdministrativeAction;
            self.close(turn, id, ReasonCode::AdministrativeAction, reason, text);
        }
        if fate == SessionFate::Ended
            && let Some(id) = self.clients.sessions.find(client_id)
        {
            self.end_session(turn, id);
        }
        Reply::Done
    }

    fn publish_for_operator(&mut self, turn: &mut Turn<'_>, message: &Message) -> Reply {
        let borrowed = message.borrow();
        let Ok(topic) = TopicName::parse(borrowed.topic, self.clients.settings.topic_levels_max) else {
            return Reply::Refused("the topic is no topic name");
        };
        // What an operator says is said to everybody: the settings that hold for clients' topics hold for it, too.
        if let Err(refusal) = self.clients.settings.check_message(Some(topic), borrowed.payload.len()) {
            return Reply::Refused(refusal.text);
        }
        if borrowed.retain
            && !borrowed.payload.is_empty()
            && !self.router.may_retain(&self.clients.settings, borrowed.topic, borrowed.len_bytes())
        {
            return Reply::NotNow("no room for another retained message");
        }
        if self.clients.log_rooms.is_short() && self.router.is_to_be_kept(&self.clients, None, &borrowed) {
            return Reply::NotNow(NO_ROOM_TO_KEEP.text);
        }
        let outcome = self.router.route(
            turn,
            &mut self.clients,
            topic,
            &mut Fanout::new(Routed::shared(message)),
            MessageOrigin::default(),
        );
        Reply::Published { matched: outcome.matched }
    }

    fn list_retained(&self, turn: &Turn<'_>, filter: &str, mut cursor: Cursor, limit: u16) -> Reply {
        let Ok(filter) = TopicFilter::parse(filter, self.clients.settings.topic_levels_max) else {
            return Reply::Refused("the filter is no topic filter");
        };
        let (now, limit) = (turn.now, usize::from(limit.clamp(1, PAGE_MAX)));
        let (mut page, mut bytes) = (Vec::new(), 0);
        let entries = Page { filter, cursor: &mut cursor, budget: ENTRIES_PER_SLICE, as_of: u64::MAX };
        let scan = self.router.retained.scan(now, entries, |message| {
            let message = message.borrow();
            let shown = message.payload.len().min(PAYLOAD_SHOWN_MAX_BYTES);
            let properties = ShownProperties::of(message.properties, PAYLOAD_SHOWN_MAX_BYTES);
            bytes += message.topic.len() + shown + properties.len_bytes();
            page.push(RetainedSummary {
                topic: message.topic.into(),
                qos: message.qos,
                properties,
                payload: message.payload[..shown].into(),
                payload_bytes: message.payload.len() as u32,
                expires_at: message.expires.map(|expires| now.timestamp_of(expires)),
            });
            let is_full = page.len() == limit || bytes >= PAGE_MAX_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Reply::Retained { page, next: (scan == Scan::More).then_some(cursor) }
    }

    fn begin_deletion(&mut self, request: RequestId, filter: Box<str>) -> Result<(), Reply> {
        if TopicFilter::parse(&filter, self.clients.settings.topic_levels_max).is_err() {
            return Err(Reply::Refused("the filter is no topic filter"));
        }
        if filter.starts_with("$SYS") {
            // They are written again only when their values change: the version never does.
            return Err(Reply::Refused("the broker's own topics are not deleted"));
        }
        self.check_commands()?;
        let as_of = self.router.retained.written();
        self.commands.0.push_back(CommandUnderWay::Deletion(Deletion {
            request,
            filter,
            cursor: Cursor::default(),
            as_of,
            deleted: 0,
        }));
        Ok(())
    }

    fn begin_top(&mut self, now: Now, request: RequestId, by: TopBy, limit: u16) -> Result<(), Reply> {
        self.check_commands()?;
        if by.is_counted() {
            self.clients.traffic.look(now);
        }
        self.commands.0.push_back(CommandUnderWay::Top(TopWalk::new(&self.clients, request, by, limit)));
        Ok(())
    }

    fn check_commands(&self) -> Result<(), Reply> {
        let has_room = self.commands.0.len() < COMMANDS_UNDER_WAY_MAX;
        if has_room { Ok(()) } else { Err(Reply::NotNow("too many commands are under way")) }
    }

    fn list_topics(&mut self, now: Now, by: TopicsBy, limit: u16) -> Reply {
        self.clients.traffic.look(now);
        let rows = self.clients.traffic.topics(now, by, limit.clamp(1, TOPICS_SEEN_MAX as u16).into());
        Reply::Topics { rows, counted_ms: self.clients.traffic.counted_ms(now) }
    }

    /// A slice of the command that has waited longest.
    pub(super) fn advance_command(&mut self, turn: &mut Turn<'_>) {
        match self.commands.0.pop_front() {
            Some(CommandUnderWay::Deletion(deletion)) => self.advance_deletion(turn, deletion),
            Some(CommandUnderWay::Top(mut walk)) => match walk.advance(turn.now, &self.clients) {
                Some(answer) => turn.fx.replies.push(answer),
                None => self.commands.0.push_back(CommandUnderWay::Top(walk)),
            },
            None => {}
        }
    }

    fn advance_deletion(&mut self, turn: &mut Turn<'_>, mut deletion: Deletion) {
        let filter = TopicFilter::parse(&deletion.filter, u16::MAX).expect("it was checked when the command came");
        let mut topics: Vec<Box<str>> = Vec::new();
        let Deletion { ref mut cursor, as_of, .. } = deletion;
        let entries = Page { filter, cursor, budget: ENTRIES_PER_SLICE, as_of };
        let scan = self.router.retained.scan(turn.now, entries, |message| {
            topics.push(message.borrow().topic.into());
            if topics.len() == DELETIONS_PER_SLICE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        deletion.deleted += topics.len() as u64;
        for topic in topics {
            self.router.delete_retained(turn, &mut self.clients, &topic);
        }
        match scan {
            Scan::Done => turn.fx.replies.push((deletion.request, Reply::Deleted { messages: deletion.deleted })),
            Scan::More => self.commands.0.push_back(CommandUnderWay::Deletion(deletion)),
        }
    }
}

impl Router {
    /// Deletes one retained message here and on all other shards.
    fn delete_retained(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, topic: &str) {
        let stamp = self.retained.stamp(turn.now, clients.id);
        self.retained.write(turn.now, topic, None, stamp);
        clients.log_deletion(turn, topic, stamp);
        for shard in ShardSet::all_but(clients.id, clients.settings.shards).iter() {
            turn.fx.mesh.push(shard, MeshMessage::RetainedDeleted { topic: topic.into(), stamp });
        }
    }

    /// Another shard has deleted a retained message.
    pub(super) fn apply_retained_deletion(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        topic: &str,
        stamp: WriteStamp,
    ) {
        if self.retained.write(turn.now, topic, None, stamp) {
            clients.log_deletion(turn, topic, stamp);
        }
    }
}

impl Clients {
    fn log_deletion(&mut self, turn: &mut Turn<'_>, topic: &str, stamp: WriteStamp) {
        if self.logs_retained(topic) {
            self.record_log.append(turn, &LogRecord::Retained { topic, stamp, message: None });
        }
    }
}
