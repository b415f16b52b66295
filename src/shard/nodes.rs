//! What a shard knows of the other nodes of a cluster.
//!
//! Owns: the view that holds ([`Nodes`]).
//! Always holds: shard 0 is told first, and passes the view on before all that is about it; a shard that finds a slot in a set of shards knows
//! which process is meant. Without a cluster there is nothing here, and nothing is asked.
//! Leaves to others: who is in the view (`cluster`), links and their frames (`conn`, `link_words`).

use std::sync::Arc;

use super::{MeshMessage, Reply, Shard, Turn};
use crate::cluster::ClusterView;
use crate::ids::{ShardId, ShardSet};
use crate::topic::SubscribedFilter;

/// The shard that speaks for its node: it is told of the cluster, and tells peers what all shards are interested in.
const SPEAKER: ShardId = ShardId(0);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Nodes {
    /// What holds now.
    pub view: Arc<ClusterView>,
}

impl Shard {
    /// The cluster is as `view` says from now on.
    pub(super) fn use_cluster(&mut self, turn: &mut Turn<'_>, view: Arc<ClusterView>) -> Reply {
        if self.clients.id != SPEAKER {
            return Reply::Refused("shard 0 is told of the cluster, and tells the others");
        }
        for shard in ShardSet::all_but(SPEAKER, self.clients.settings.shards).iter() {
            turn.fx.mesh.push(shard, MeshMessage::View(Arc::clone(&view)));
        }
        self.use_view(turn, view);
        Reply::Done
    }

    fn use_view(&mut self, turn: &mut Turn<'_>, view: Arc<ClusterView>) {
        let own = ShardSet::first(self.clients.settings.shards);
        assert!(view.slots().and(own).is_empty(), "a slot is no shard of this node");
        turn.fx.view = Some(Arc::clone(&view));
        match &mut self.router.nodes {
            Some(nodes) => nodes.view = view,
            none => *none = Some(Box::new(Nodes { view })),
        }
    }

    /// What shards say of other nodes, or other nodes of themselves.
    #[cold]
    pub(super) fn handle_word_of_nodes(&mut self, turn: &mut Turn<'_>, from: ShardId, message: MeshMessage) {
        match message {
            MeshMessage::View(view) => self.use_view(turn, view),
            MeshMessage::PeerInterest { peer, number, filter, interest } => {
                let filter = SubscribedFilter::parse(&filter, u16::MAX).expect("shard 0 has parsed it");
                self.router.index.apply_remote(peer, &filter, interest);
                turn.fx.mesh.push(from, MeshMessage::PeerApplied { number });
            }
            MeshMessage::PeerRoom { peer, key, room } => {
                if let Some(group) = self.router.index.group_by_key(key) {
                    self.router.index.set_remote_room(group, peer, room);
                }
            }
            // Nobody here has passed anything on, asked a peer, or told one all of its interest.
            _ => {}
        }
    }
}
