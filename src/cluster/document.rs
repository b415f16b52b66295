//! The documents that all nodes read in the engine's key-value store: `cluster`, `node.<id>`, `map`.
//!
//! Always holds: a document that exists is valid. What another node, or anybody with a tool, has written there is looked at for its length first, then
//! for its format, then for its shape; a field that this format does not have is refused, because writing the document again would lose it.
//! A later format may have more.
//! Leaves to others: what may change (`map`), and when (`membership`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::map::{ClusterMap, MapMember, RangeEntry};
use super::range::{BootId, NodeId, NodeSet, RangeCount, is_name};
use crate::limits::CONTROL_DOCUMENT_MAX_BYTES;

/// The format of all documents that is written; the only one so far.
pub const CONTROL_FORMAT: u16 = 1;

/// Where a document stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlKey {
    /// What was decided once, when the cluster was founded.
    Cluster,
    /// What a node says of itself, each second.
    Node(NodeId),
    /// Who is a member, and who owns what.
    Map,
}

impl ControlKey {
    /// `None` for a key that no document of ours has.
    pub fn parse(key: &str) -> Option<Self> {
        match key {
            "cluster" => Some(Self::Cluster),
            "map" => Some(Self::Map),
            _ => {
                let digits = key.strip_prefix("node.").filter(|digits| !digits.starts_with(['0', '+']))?;
                NodeId::new(digits.parse().ok()?).map(Self::Node)
            }
        }
    }
}

impl fmt::Display for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(node) => write!(f, "node.{node}"),
            Self::Map => f.write_str("map"),
        }
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than any that is written.
    #[error("it is longer than {CONTROL_DOCUMENT_MAX_BYTES} bytes")]
    TooLong,
    /// A later dunlin wrote it.
    #[error("it has format {0}, and this dunlin knows formats up to {CONTROL_FORMAT}")]
    NewerFormat(u64),
    /// It is no JSON, or has not the fields of its kind.
    #[error("{0}")]
    Shape(String),
    /// A value that cannot be.
    #[error("{0} is not valid")]
    Value(&'static str),
}

/// What was decided when the cluster was founded, and holds as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDocument {
    /// As `--cluster-name` of every node says.
    pub name: String,
    /// How many ranges there are.
    pub ranges: RangeCount,
    /// Of the hashes that nodes must compute alike.
    pub hash_seeds: [u64; 4],
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDocument {
    /// Its process.
    pub boot: BootId,
    /// Grows with each time that it is written.
    pub beat: u64,
    /// Where other nodes reach it.
    pub link: String,
    /// Where clients reach it that could connect by themselves: the Server Reference of MQTT 5. `None` where none are sent there.
    pub server: Option<String>,
    /// Of dunlin.
    pub version: String,
    /// Of the newest map that it had seen.
    pub epoch: u64,
    /// Members that beat, and that it does not reach.
    pub cut_off: NodeSet,
    /// For each range the highest sequence that this node has known its log to have, be it from others; 0 for none. A log that ends before
    /// that has lost its end.
    pub floors: Vec<u64>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterJson {
    format: u16,
    name: String,
    ranges: u16,
    hash_seeds: [String; 4],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeJson {
    format: u16,
    boot: String,
    beat: u64,
    link: String,
    server: Option<String>,
    version: String,
    epoch: u64,
    cut_off: Vec<u16>,
    floors: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MapJson {
    format: u16,
    epoch: u64,
    members: Vec<MemberJson>,
    ranges: Vec<EntryJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberJson {
    node: u16,
    name: String,
    leaving: bool,
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryJson {
    owner: Option<u16>,
    next: Option<u16>,
    floor: u64,
}

impl ClusterDocument {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let hash_seeds = self.hash_seeds.map(hex);
        let name = self.name.clone();
        json(&ClusterJson { format: CONTROL_FORMAT, name, ranges: self.ranges.get(), hash_seeds })
    }

    /// From what is stored.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: ClusterJson = read(bytes)?;
        let mut hash_seeds = [0; 4];
        for (seed, text) in hash_seeds.iter_mut().zip(&document.hash_seeds) {
            *seed = from_hex(text).ok_or(DocumentError::Value("a hash seed"))?;
        }
        let ranges = RangeCount::new(document.ranges).ok_or(DocumentError::Value("the number of ranges"))?;
        Ok(Self { name: name(document.name)?, ranges, hash_seeds })
    }
}

impl NodeDocument {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        json(&NodeJson {
            format: CONTROL_FORMAT,
            boot: hex(self.boot.0),
            beat: self.beat,
            link: self.link.clone(),
            server: self.server.clone(),
            version: self.version.clone(),
            epoch: self.epoch,
            cut_off: self.cut_off.iter().map(NodeId::get).collect(),
            floors: self.floors.clone(),
        })
    }

    /// From what is stored.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: NodeJson = read(bytes)?;
        let boot = BootId(from_hex(&document.boot).ok_or(DocumentError::Value("a boot id"))?);
        let (link, version) = (name(document.link)?, name(document.version)?);
        let server = document.server.map(name).transpose()?;
        let mut cut_off = NodeSet::default();
        for node in document.cut_off {
            cut_off.insert(NodeId::new(node).ok_or(DocumentError::Value("a node that is cut off"))?);
        }
        let count = u16::try_from(document.floors.len()).ok().and_then(RangeCount::new);
        count.ok_or(DocumentError::Value("the number of floors"))?;
        let NodeJson { beat, epoch, floors, .. } = document;
        Ok(Self { boot, beat, link, server, version, epoch, cut_off, floors })
    }
}

impl ClusterMap {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let members = self.members().map(|(node, member)| MemberJson {
            node: node.get(),
            name: member.name.clone(),
            leaving: member.is_leaving,
            since: member.since,
        });
        let entries = self.entries().iter().map(|entry| EntryJson {
            owner: entry.owner.map(NodeId::get),
            next: entry.next.map(NodeId::get),
            floor: entry.floor,
        });
        json(&MapJson {
            format: CONTROL_FORMAT,
            epoch: self.epoch(),
            members: members.collect(),
            ranges: entries.collect(),
        })
    }

    /// From what is stored.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: MapJson = read(bytes)?;
        let node = |number: u16| NodeId::new(number).ok_or(DocumentError::Value("a node"));
        let mut members = Vec::new();
        for member in document.members {
            let MemberJson { node: number, leaving: is_leaving, since, .. } = member;
            members.push((node(number)?, MapMember { name: name(member.name)?, is_leaving, since }));
        }
        let mut entries = Vec::new();
        for entry in document.ranges {
            let (owner, next) = (entry.owner.map(node).transpose()?, entry.next.map(node).transpose()?);
            entries.push(RangeEntry { owner, next, floor: entry.floor });
        }
        Self::new(document.epoch, members, entries).map_err(DocumentError::Value)
    }
}

fn json(document: &impl Serialize) -> Vec<u8> {
    let bytes = serde_json::to_vec(document).expect("texts and numbers become JSON");
    debug_assert!(bytes.len() <= CONTROL_DOCUMENT_MAX_BYTES);
    bytes
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DocumentError> {
    if bytes.len() > CONTROL_DOCUMENT_MAX_BYTES {
        return Err(DocumentError::TooLong);
    }
    let shape = |error: serde_json::Error| DocumentError::Shape(error.to_string());
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(shape)?;
    match format {
        1 => serde_json::from_slice(bytes).map_err(shape),
        0 => Err(DocumentError::Value("format 0")),
        newer => Err(DocumentError::NewerFormat(newer)),
    }
}

fn name(text: String) -> Result<String, DocumentError> {
    if is_name(&text) { Ok(text) } else { Err(DocumentError::Value("a name")) }
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn from_hex(text: &str) -> Option<u64> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
}
