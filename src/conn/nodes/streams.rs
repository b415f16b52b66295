//! Which process is at the other end of a link, what is said to it and what has come from it. Without the connections themselves.
//!
//! Always holds: what is said to a process is kept until it has it, over any number of connections; a process has one link from each of its shards
//! at a time, and the latest counts.

use core::net::SocketAddr;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::{BootId, ClusterView, LinkIn, LinkOut, LinkPeer, LinkPulse, LinkRedial, NodeId, PeerProcess};
use crate::ids::{ConnectionId, ShardId};
use crate::shard::LogRoom;
use crate::time::{Deadline, Now};

/// Not dialled again.
const NEVER: Deadline = Deadline(u64::MAX);

/// What a shard has found out about another node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkNews {
    /// Which process.
    pub boot: BootId,
    /// What.
    pub word: LinkWord,
}

/// See [`LinkNews`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkWord {
    /// It was reached by this node, which is no member and says nothing more to it.
    Reached,
    /// A connection to it stands.
    Linked,
    /// None does any more.
    Broken,
    /// It says whether its beats come back to it.
    Heard(bool),
}

/// What one end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkRole {
    /// To a process.
    To(BootId),
    /// From a shard of one.
    From(BootId, u8),
    /// From a process that only tries whether it reaches this one.
    Probe,
}

/// What knowing the peer of a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkMeeting {
    /// The process that was dialled: it says first what it has.
    Dialled,
    /// The same, and that is all that was wanted.
    Reached,
    /// A member's link, perhaps in place of an earlier one.
    Accepted(Option<ConnectionId>),
    /// It is not going to say anything.
    Probe,
    /// Nobody that the view has.
    Stranger,
}

/// To one process.
#[derive(Debug)]
pub(super) struct LinkTo {
    node: NodeId,
    boot: BootId,
    slot: ShardId,
    at: SocketAddr,
    stream: LinkOut,
    /// What the stream has given out and the connection was not given.
    rest: Bytes,
    connection: Option<ConnectionId>,
    /// Since the peer is known.
    pulse: Option<LinkPulse>,
    is_linked: bool,
    /// The shard was told that the link is behind, and nothing else since.
    is_behind: bool,
    /// What it says of its beats.
    is_heard: Option<bool>,
    redial: LinkRedial,
    /// While there is no connection: when one is tried. `None` when the last one has just ended.
    dial_at: Option<Deadline>,
}

/// From one shard of a process.
#[derive(Debug)]
struct LinkFrom {
    slot: ShardId,
    stream: LinkIn,
    connection: Option<ConnectionId>,
    pulse: LinkPulse,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct LinkStreams {
    view: Option<Arc<ClusterView>>,
    /// Whether this node is a member.
    is_member: bool,
    to: Vec<LinkTo>,
    from: BTreeMap<(BootId, u8), LinkFrom>,
    roles: HashMap<ConnectionId, LinkRole>,
    news: Vec<LinkNews>,
}

impl LinkTo {
    fn new(now: Now, peer: &PeerProcess) -> Self {
        Self {
            node: peer.node,
            boot: peer.boot,
            slot: peer.slot,
            at: peer.at,
            stream: LinkOut::default(),
            rest: Bytes::new(),
            connection: None,
            pulse: None,
            is_linked: false,
            is_behind: false,
            is_heard: None,
            redial: LinkRedial::default(),
            dial_at: Some(now.after_ms(0)),
        }
    }

    /// What its connection is given next, at most so many bytes. Frames may be cut.
    pub(super) fn next_piece(&mut self, max_bytes: usize) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = self.stream.next_bytes()?;
        }
        Some(self.rest.split_to(self.rest.len().min(max_bytes)))
    }

    /// Whether there is a next piece.
    pub(super) fn has_more(&self) -> bool {
        !self.rest.is_empty() || self.stream.has_next()
    }

    /// What the link has room for from now on, if that is news.
    fn take_room(&mut self) -> Option<LogRoom> {
        let is_behind = if self.is_behind { !self.stream.has_drained() } else { self.stream.is_behind() };
        (std::mem::replace(&mut self.is_behind, is_behind) != is_behind).then_some(if is_behind {
            LogRoom::Behind
        } else {
            LogRoom::Enough
        })
    }
}

impl LinkStreams {
    /// Knows these processes from now on. Returns the connections that are to end: those of processes that are gone, and, when this node becomes a member
    /// or is one no more, all of its own.
    pub(super) fn use_view(&mut self, now: Now, is_member: bool, view: Arc<ClusterView>) -> Vec<ConnectionId> {
        let has = |boot: BootId, node: Option<NodeId>| {
            view.peers.iter().any(|peer| peer.boot == boot && node.is_none_or(|node| node == peer.node))
        };
        let mut ended = Vec::new();
        self.to.retain(|to| {
            let stays = has(to.boot, Some(to.node));
            ended.extend(to.connection.filter(|_| !stays || is_member != self.is_member));
            stays
        });
        self.from.retain(|&(boot, _), from| {
            let stays = has(boot, None);
            ended.extend(from.connection.filter(|_| !stays));
            stays
        });
        for peer in &view.peers {
            if !self.to.iter().any(|to| to.boot == peer.boot) {
                self.to.push(LinkTo::new(now, peer));
            }
        }
        if is_member != self.is_member {
            self.to.iter_mut().for_each(|to| to.dial_at = Some(now.after_ms(0)));
        }
        self.is_member = is_member;
        self.view = Some(view);
        ended
    }

    /// What this node knows of the cluster, once it does.
    pub(super) const fn view(&self) -> Option<&Arc<ClusterView>> {
        self.view.as_ref()
    }

    /// What was found out since this was last asked.
    pub(super) fn take_news(&mut self) -> Vec<LinkNews> {
        std::mem::take(&mut self.news)
    }

    /// The stream to the process of a slot.
    pub(super) fn out(&mut self, slot: ShardId) -> Option<&mut LinkOut> {
        Some(&mut self.to.iter_mut().find(|to| to.slot == slot)?.stream)
    }

    /// The next process to which the link is behind from now on, or has room again.
    pub(super) fn next_room(&mut self) -> Option<(ShardId, LogRoom)> {
        self.to.iter_mut().find_map(|to| Some((to.slot, to.take_room()?)))
    }

    /// Connections to and from the process of a slot.
    pub(super) fn connections_of(&self, slot: ShardId) -> Vec<ConnectionId> {
        let to = self.to.iter().filter(|to| to.slot == slot).filter_map(|to| to.connection);
        let from = self.from.values().filter(|from| from.slot == slot).filter_map(|from| from.connection);
        to.chain(from).collect()
    }

    /// What a connection is; `None` of one whose peer is not known, unless it was dialled.
    pub(super) fn role(&self, id: ConnectionId) -> Option<LinkRole> {
        self.roles.get(&id).copied()
    }

    /// When there is something to do.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let to = self.to.iter().filter_map(|to| match (to.connection, &to.pulse) {
            (None, _) => Some(to.dial_at.unwrap_or(Deadline(0))).filter(|&at| at != NEVER),
            (Some(_), Some(pulse)) => Some(pulse.next_deadline()),
            (Some(_), None) => None, // it has its own time
        });
        let from = self.from.values().filter(|from| from.connection.is_some()).map(|from| from.pulse.dead_at());
        to.chain(from).min()
    }

    /// The next process that is to be dialled now.
    pub(super) fn next_dial(&mut self, now: Now) -> Option<(BootId, SocketAddr)> {
        for to in self.to.iter_mut().filter(|to| to.connection.is_none()) {
            let at = *to.dial_at.get_or_insert_with(|| to.redial.next(now));
            if at.is_due(now) {
                to.dial_at = None;
                return Some((to.boot, to.at));
            }
        }
        None
    }

    /// [`Self::next_dial`] has led to this connection.
    pub(super) fn dialled(&mut self, boot: BootId, id: ConnectionId) {
        if let Some(to) = self.to.iter_mut().find(|to| to.boot == boot) {
            to.connection = Some(id);
            self.roles.insert(id, LinkRole::To(boot));
        }
    }

    /// The peer of a connection is known.
    pub(super) fn know(&mut self, now: Now, id: ConnectionId, peer: LinkPeer) -> LinkMeeting {
        if let Some(&LinkRole::To(boot)) = self.roles.get(&id) {
            let dialled = self.to.iter_mut().find(|to| to.boot == boot);
            let Some(to) = dialled.filter(|to| peer.boot == boot && peer.node == Some(to.node)) else {
                return LinkMeeting::Stranger;
            };
            to.redial.connected();
            if !self.is_member {
                to.dial_at = Some(NEVER);
                self.tell(boot, LinkWord::Reached);
                return LinkMeeting::Reached;
            }
            to.pulse = Some(LinkPulse::new(now));
            return LinkMeeting::Dialled;
        }
        let Some(node) = peer.node else {
            self.roles.insert(id, LinkRole::Probe);
            return LinkMeeting::Probe;
        };
        let process = self.view.as_deref().and_then(|view| view.peer(node)).filter(|process| process.boot == peer.boot);
        let Some(process) = process else { return LinkMeeting::Stranger };
        let (slot, shard) = (process.slot, peer.shards.1);
        let from = self.from.entry((peer.boot, shard)).or_insert_with(|| LinkFrom {
            slot,
            stream: LinkIn::default(),
            connection: None,
            pulse: LinkPulse::new(now),
        });
        let earlier = from.connection.replace(id);
        from.stream.connected();
        from.pulse = LinkPulse::new(now);
        self.roles.insert(id, LinkRole::From(peer.boot, shard));
        LinkMeeting::Accepted(earlier)
    }

    /// A connection has ended.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        match self.roles.remove(&id) {
            Some(LinkRole::To(boot)) => {
                let to = self.to.iter_mut().find(|to| to.boot == boot && to.connection == Some(id));
                let Some(to) = to else { return };
                to.stream.broken();
                to.rest = Bytes::new();
                (to.connection, to.pulse) = (None, None);
                if std::mem::take(&mut to.is_linked) {
                    self.tell(boot, LinkWord::Broken);
                }
            }
            Some(LinkRole::From(boot, shard)) => {
                if let Some(from) = self.from.get_mut(&(boot, shard)).filter(|from| from.connection == Some(id)) {
                    from.connection = None;
                }
            }
            Some(LinkRole::Probe) | None => {}
        }
    }

    /// Something has come by a connection.
    pub(super) fn heard(&mut self, now: Now, role: LinkRole) {
        match role {
            LinkRole::To(boot) => {
                if let Some(pulse) = self.to(boot).and_then(|to| to.pulse.as_mut()) {
                    pulse.heard(now);
                }
            }
            LinkRole::From(boot, shard) => {
                if let Some(from) = self.from.get_mut(&(boot, shard)) {
                    from.pulse.heard(now);
                }
            }
            LinkRole::Probe => {}
        }
    }

    /// Nobody could be heard: nobody is silent.
    pub(super) fn hear_all(&mut self, now: Now) {
        let to = self.to.iter_mut().filter_map(|to| to.pulse.as_mut());
        to.chain(self.from.values_mut().map(|from| &mut from.pulse)).for_each(|pulse| pulse.heard(now));
    }

    /// Connections of which nothing was heard for too long.
    pub(super) fn dead(&self, now: Now) -> Vec<ConnectionId> {
        let to =
            self.to.iter().filter(|to| to.pulse.is_some_and(|pulse| pulse.is_dead(now))).filter_map(|to| to.connection);
        let from = self.from.values().filter(|from| from.pulse.is_dead(now)).filter_map(|from| from.connection);
        to.chain(from).collect()
    }

    /// The next PING that is due, and where.
    pub(super) fn next_ping(&mut self, now: Now) -> Option<(ConnectionId, u64)> {
        self.to.iter_mut().find_map(|to| Some((to.connection?, to.pulse.as_mut()?.next_ping(now)?)))
    }

    /// The process says whether it is heard.
    pub(super) fn told(&mut self, boot: BootId, is_heard: bool) {
        if let Some(to) = self.to(boot)
            && to.is_heard.replace(is_heard) != Some(is_heard)
        {
            self.tell(boot, LinkWord::Heard(is_heard));
        }
    }

    /// A connection stands since its first RECEIVED.
    pub(super) fn stands(&mut self, boot: BootId) {
        if let Some(to) = self.to(boot) {
            to.is_linked = true;
            self.tell(boot, LinkWord::Linked);
        }
    }

    /// Whether a connection to a process stands, and the stream to it.
    pub(super) fn stream_to(&mut self, boot: BootId) -> Option<(bool, &mut LinkOut)> {
        self.to(boot).map(|to| (to.is_linked, &mut to.stream))
    }

    /// The slot of a process, and the stream from one of its shards.
    pub(super) fn stream_from(&mut self, boot: BootId, shard: u8) -> Option<(ShardId, &mut LinkIn)> {
        self.from.get_mut(&(boot, shard)).map(|from| (from.slot, &mut from.stream))
    }

    /// Connections that stand, and what they carry.
    pub(super) fn standing(&mut self) -> impl Iterator<Item = (ConnectionId, &mut LinkTo)> {
        let standing = self.to.iter_mut().filter(|to| to.is_linked);
        standing.filter_map(|to| Some((to.connection?, to)))
    }

    /// News of a process take the place of older ones, so that they do not grow where nobody asks.
    fn tell(&mut self, boot: BootId, word: LinkWord) {
        let is_of_beats = |word| matches!(word, LinkWord::Heard(_));
        self.news.retain(|news| news.boot != boot || is_of_beats(news.word) != is_of_beats(word));
        self.news.push(LinkNews { boot, word });
    }

    fn to(&mut self, boot: BootId) -> Option<&mut LinkTo> {
        self.to.iter_mut().find(|to| to.boot == boot)
    }
}
