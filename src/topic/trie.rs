//! The trie: filters with `+`, and those of shared subscriptions, level by level.
//!
//! A node is one cache line. Its literal children are found through one hash table for the whole trie, keyed by parent
//! and level; its `+` child and what ends in `#` below it are in the node itself. The walk keeps its own stack, at most
//! one deferred node a level, and visits at most one node of each shape (see `shape`).

use crate::slab::Slab;

use super::entry::NONE;
use super::filter::TopicFilter;
use super::matches::{Level, Matches};
use super::name::TopicName;
use super::scan::first_slash;
use super::shape::Shapes;
use super::table::{Keys, StripedTable};
use super::text::Text;

const ROOT: u32 = 0;

/// One level of one or more filters.
#[derive(Debug)]
#[repr(align(64))]
struct TrieNode {
    level: Text,
    parent: u32,
    plus: u32,
    literal_children: u32,
    shape: u32,
    /// Filters that end here.
    here: Ends,
    /// Filters that end in `#` one level further down, and so match here and below.
    below: Ends,
}

const _: () = assert!(size_of::<Option<TrieNode>>() == 64);

/// What ends at one place of the trie; the trie stores the numbers and knows nothing of what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The number of the plain entry, or `NONE`.
    pub(super) plain: u32,
    /// The number of the list of shared subscriptions, or `NONE`.
    pub(super) groups: u32,
}

/// A place where filters end: a node, and whether a `#` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilterEnd {
    node: u32,
    below: bool,
}

/// The trie of all shards' filters.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Slab<TrieNode>,
    edges: StripedTable<u32>,
    shapes: Shapes,
    heap_bytes: usize,
}

impl Trie {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(TrieNode { shape: Shapes::ROOT, ..TrieNode::default() });
        assert_eq!(root, ROOT);
        Self { nodes, edges: StripedTable::new(), shapes: Shapes::new(), heap_bytes: 0 }
    }

    /// Whether adding `filter` keeps the worst match within its bound.
    pub(super) fn admits(&self, filter: TopicFilter<'_>) -> bool {
        self.shapes.admits(filter.as_str().split('/').filter(|level| *level != "#").map(|level| level == "+"))
    }

    /// The most nodes that any topic can visit.
    pub(super) const fn worst_visit_nodes(&self) -> usize {
        self.shapes.len()
    }

    pub(super) fn find(&self, filter: TopicFilter<'_>, keys: &Keys) -> Option<FilterEnd> {
        let mut node = ROOT;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return Some(FilterEnd { node, below: true }),
                "+" => self.nodes[node].plus,
                _ => self.literal_child(node, level.as_bytes(), keys.level(level.as_bytes()), keys),
            };
            if node == NONE {
                return None;
            }
        }
        Some(FilterEnd { node, below: false })
    }

    /// Finds where `filter` ends, making what is missing on the way.
    pub(super) fn ensure(&mut self, filter: TopicFilter<'_>, keys: &Keys) -> FilterEnd {
        let mut node = ROOT;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return FilterEnd { node, below: true },
                "+" => match self.nodes[node].plus {
                    NONE => self.add_plus(node),
                    plus => plus,
                },
                _ => match self.literal_child(node, level.as_bytes(), keys.level(level.as_bytes()), keys) {
                    NONE => self.add_literal(node, level, keys),
                    child => child,
                },
            };
        }
        FilterEnd { node, below: false }
    }

    pub(super) fn ends(&self, at: FilterEnd) -> Ends {
        let node = &self.nodes[at.node];
        if at.below { node.below } else { node.here }
    }

    pub(super) fn ends_mut(&mut self, at: FilterEnd) -> &mut Ends {
        let node = &mut self.nodes[at.node];
        if at.below { &mut node.below } else { &mut node.here }
    }

    /// Frees the node and those above it that nothing needs any more.
    pub(super) fn prune(&mut self, at: FilterEnd, keys: &Keys) {
        let mut id = at.node;
        while id != ROOT && self.nodes[id].is_bare() {
            let node = self.nodes.remove(id).expect("a node is freed once");
            self.shapes.leave(node.shape);
            self.heap_bytes -= node.level.heap_bytes();
            if self.nodes[node.parent].plus == id {
                self.nodes[node.parent].plus = NONE;
            } else {
                let hash = keys.edge(node.parent, keys.level(node.level.as_bytes()));
                self.edges.remove(hash, |&child| child == id).expect("every literal child has its edge");
                self.nodes[node.parent].literal_children -= 1;
            }
            id = node.parent;
        }
    }

    /// The filter that ends there, appended to `out`.
    pub(super) fn write_filter(&self, at: FilterEnd, out: &mut String) {
        let mut path = Vec::new();
        let mut id = at.node;
        while id != ROOT {
            path.push(id);
            id = self.nodes[id].parent;
        }
        for (depth, &id) in path.iter().rev().enumerate() {
            if depth > 0 {
                out.push('/');
            }
            out.push_str(self.nodes[id].level.as_str());
        }
        if at.below {
            out.push_str(if path.is_empty() { "#" } else { "/#" });
        }
    }

    /// Calls `take` with everything that ends where `topic` leads. `out` lends its working memory.
    pub(super) fn walk(
        &self,
        topic: TopicName<'_>,
        keys: &Keys,
        out: &mut Matches,
        mut take: impl FnMut(Ends, &mut Matches),
    ) {
        if self.nodes.len() == 1 && self.nodes[ROOT].is_bare() {
            return;
        }
        let bytes = topic.as_str().as_bytes();
        out.walk.stack.clear();
        out.walk.levels.clear();
        let mut next = Some((ROOT, 0));
        // [MQTT-4.7.2-1]: no wildcard at the first level matches a `$` topic.
        if topic.is_dollar() {
            out.walk.levels.push(first_level(bytes));
            out.nodes_visited = 1;
            next = self.descend(ROOT, 0, bytes, keys, &mut out.walk.levels).map(|child| (child, 1));
        }
        while let Some((id, depth)) = next.take().or_else(|| out.walk.stack.pop()) {
            out.nodes_visited += 1;
            let node = &self.nodes[id];
            if node.below != Ends::NOTHING {
                take(node.below, out);
            }
            if !has_level(bytes, depth, &mut out.walk.levels) {
                if node.here != Ends::NOTHING {
                    take(node.here, out);
                }
                continue;
            }
            if node.plus != NONE {
                next = Some((node.plus, depth + 1));
            }
            if node.literal_children > 0
                && let Some(child) = self.descend(id, depth, bytes, keys, &mut out.walk.levels)
                && let Some(plus) = next.replace((child, depth + 1))
            {
                out.walk.stack.push(plus);
            }
        }
    }

    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes() + self.edges.memory_bytes() + self.shapes.memory_bytes() + self.heap_bytes
    }

    /// The child of `id` by the topic's level at `depth`, which has been cut out already.
    #[inline]
    fn descend(&self, id: u32, depth: u32, topic: &[u8], keys: &Keys, levels: &mut [Level]) -> Option<u32> {
        let level = &mut levels[depth as usize];
        let bytes = &topic[level.start as usize..level.end as usize];
        let hash = *level.hash.get_or_insert_with(|| keys.level(bytes));
        let child = self.literal_child(id, bytes, hash, keys);
        (child != NONE).then_some(child)
    }

    #[inline]
    fn literal_child(&self, parent: u32, level: &[u8], level_hash: u64, keys: &Keys) -> u32 {
        let is_it = |&id: &u32| {
            let node = &self.nodes[id];
            node.parent == parent && node.level.as_bytes() == level
        };
        self.edges.find(keys.edge(parent, level_hash), is_it).copied().unwrap_or(NONE)
    }

    fn add_plus(&mut self, parent: u32) -> u32 {
        let shape = self.shapes.enter(self.nodes[parent].shape, true);
        let id = self.nodes.insert(TrieNode { level: Text::new("+"), parent, shape, ..TrieNode::default() });
        self.nodes[parent].plus = id;
        id
    }

    fn add_literal(&mut self, parent: u32, level: &str, keys: &Keys) -> u32 {
        let shape = self.shapes.enter(self.nodes[parent].shape, false);
        let level = Text::new(level);
        self.heap_bytes += level.heap_bytes();
        let hash = keys.edge(parent, keys.level(level.as_bytes()));
        let id = self.nodes.insert(TrieNode { level, parent, shape, ..TrieNode::default() });
        self.nodes[parent].literal_children += 1;
        let nodes = &self.nodes;
        self.edges.insert(hash, id, |&id| edge_hash(&nodes[id], keys));
        id
    }
}

impl Ends {
    pub(super) const NOTHING: Self = Self { plain: NONE, groups: NONE };
}

impl TrieNode {
    fn is_bare(&self) -> bool {
        self.here == Ends::NOTHING && self.below == Ends::NOTHING && self.plus == NONE && self.literal_children == 0
    }
}

impl Default for TrieNode {
    fn default() -> Self {
        Self {
            level: Text::default(),
            parent: NONE,
            plus: NONE,
            literal_children: 0,
            shape: NONE,
            here: Ends::NOTHING,
            below: Ends::NOTHING,
        }
    }
}

fn edge_hash(node: &TrieNode, keys: &Keys) -> u64 {
    keys.edge(node.parent, keys.level(node.level.as_bytes()))
}

/// Whether the topic has a level at `depth`; cuts it out on the first visit, so that a topic is split only as deep as
/// there are filters.
#[inline]
fn has_level(topic: &[u8], depth: u32, levels: &mut Vec<Level>) -> bool {
    if (depth as usize) < levels.len() {
        return true;
    }
    let level = match levels.last() {
        None => first_level(topic),
        Some(last) if last.end as usize == topic.len() => return false,
        Some(last) => level_at(topic, last.end + 1),
    };
    levels.push(level);
    true
}

fn first_level(topic: &[u8]) -> Level {
    level_at(topic, 0)
}

#[inline]
fn level_at(topic: &[u8], start: u32) -> Level {
    let rest = &topic[start as usize..];
    Level { start, end: start + first_slash(rest) as u32, hash: None }
}
