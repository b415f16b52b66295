//! Changes of the map, and its documents.

use crate::cluster::{
    BootId, CONTROL_FORMAT, ClusterDocument, ClusterMap, ControlKey, DocumentError, MapChange, NodeDocument, NodeId,
    NodeSet, RangeCount, RangeId,
};
use crate::limits::{CONTROL_DOCUMENT_MAX_BYTES, MEMBER_NAME_MAX_BYTES, NODES_MAX, RANGES_MAX};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn after(map: &ClusterMap, change: &MapChange) -> ClusterMap {
    let changed = map.after(change).unwrap_or_else(|| panic!("{change:?} changes nothing of {map:?}"));
    assert_eq!(changed.epoch(), map.epoch() + 1);
    assert_eq!(ClusterMap::decode(&changed.encode()), Ok(changed.clone()));
    // Made once it is made: whoever tries again changes nothing.
    assert_eq!(changed.after(change), None, "{change:?}");
    changed
}

fn join(map: &ClusterMap, name: &str) -> ClusterMap {
    after(map, &MapChange::Join { name: name.to_owned() })
}

/// A cluster of so many nodes that share its ranges.
fn cluster(ranges: u16, nodes: u16) -> ClusterMap {
    let mut map = ClusterMap::found(RangeCount::new(ranges).unwrap());
    for number in 1..=nodes {
        map = join(&map, &format!("n{number}"));
    }
    map.after(&MapChange::Rebalance).map_or(map, |map| make_moves(&map))
}

fn make_moves(map: &ClusterMap) -> ClusterMap {
    let mut map = map.clone();
    for (range, entry) in map.clone().entries().iter().enumerate().filter(|(_, entry)| entry.next.is_some()) {
        let change = MapChange::GivenUp { range: RangeId(range as u16), from: entry.owner.unwrap() };
        map = after(&map, &change);
    }
    map
}

fn loads(map: &ClusterMap) -> Vec<usize> {
    map.members().map(|(node, _)| map.owned_by(node).count()).collect()
}

fn moves(map: &ClusterMap) -> usize {
    map.entries().iter().filter(|entry| entry.next.is_some()).count()
}

#[test]
fn the_first_node_owns_all_and_one_that_joins_takes_nothing_by_itself() {
    let map = join(&ClusterMap::found(RangeCount::default()), "a");
    assert_eq!(loads(&map), [12]);
    let map = join(&map, "b");
    assert_eq!((loads(&map), moves(&map)), (vec![12, 0], 0));
    assert_eq!(map.node_named("b"), Some(node(2)));
    assert_eq!(map.after(&MapChange::Join { name: "b".into() }), None);
    assert_eq!(map.after(&MapChange::Join { name: "line\nbreak".into() }), None);
}

#[test]
fn rebalancing_moves_as_few_as_can_be_and_owners_stay_until_they_give_up() {
    for (ranges, nodes) in [(12, 3), (12, 5), (64, 7), (3, 5)] {
        let map = cluster(ranges, nodes);
        let joined = join(&map, "new");
        let planned = joined.after(&MapChange::Rebalance);
        let even = usize::from(ranges / (nodes + 1));
        let planned = planned.unwrap_or_else(|| joined.clone());
        assert_eq!(moves(&planned), even, "{ranges} ranges, {nodes} nodes");
        assert_eq!(loads(&planned), loads(&joined));
        let made = make_moves(&planned);
        let loads = loads(&made);
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        assert_eq!(made.after(&MapChange::Rebalance), None);
    }
}

#[test]
fn of_a_dead_node_alone_the_ranges_move() {
    let map = cluster(12, 3);
    let dead = after(&map, &MapChange::Death(node(2)));
    assert_eq!(loads(&dead), [6, 6]);
    for (before, now) in map.entries().iter().zip(dead.entries()).filter(|(before, _)| before.owner != Some(node(2))) {
        assert_eq!(before, now);
    }
    let none = after(&after(&dead, &MapChange::Death(node(1))), &MapChange::Death(node(3)));
    assert!(none.entries().iter().all(|entry| entry.owner.is_none()));
    assert_eq!(loads(&join(&none, "n9")), [12]);
    assert_eq!(none.after(&MapChange::Rebalance), None);
}

#[test]
fn a_member_is_known_since_the_epoch_of_its_join() {
    let map = cluster(4, 3);
    assert_eq!(map.member(node(3)).unwrap().since, 3);
    let cut = after(&map, &MapChange::CutOff(node(2)));
    assert_eq!((cut.member(node(2)), loads(&cut)), (None, loads(&after(&map, &MapChange::Death(node(2))))));
    assert_eq!(cut.after(&MapChange::CutOff(node(2))), None, "it is out already");
    let back = join(&cut, "n2");
    assert_eq!(back.member(node(2)).unwrap().since, back.epoch());
    assert_eq!(back.member(node(3)).unwrap().since, 3);
}

#[test]
fn a_move_to_a_node_that_dies_is_off_and_one_from_it_is_made() {
    let map = cluster(4, 2);
    let (mine, other) = (map.owned_by(node(1)).next().unwrap(), map.owned_by(node(2)).next().unwrap());
    let map = join(&map, "n3");
    let map = after(&map, &MapChange::Move { range: mine, to: node(3) });
    let map = after(&map, &MapChange::Move { range: other, to: node(1) });
    let target_dead = after(&map, &MapChange::Death(node(3)));
    let entry = target_dead.entries()[usize::from(mine.0)];
    assert_eq!((entry.owner, entry.next), (Some(node(1)), None));
    let owner_dead = after(&map, &MapChange::Death(node(2)));
    let entry = owner_dead.entries()[usize::from(other.0)];
    assert_eq!((entry.owner, entry.next), (Some(node(1)), None));
    // Who is not the owner gives nothing up, and nobody goes to who is not there.
    assert_eq!(map.after(&MapChange::GivenUp { range: mine, from: node(2) }), None);
    assert_eq!(map.after(&MapChange::Move { range: mine, to: node(9) }), None);
    assert_eq!(map.after(&MapChange::Move { range: RangeId(4), to: node(2) }), None);
}

#[test]
fn a_node_that_leaves_gives_away_what_it_has_first() {
    let map = cluster(12, 3);
    let leaving = after(&map, &MapChange::Leave(node(3)));
    assert!(leaving.has(node(3)));
    assert_eq!((loads(&leaving), moves(&leaving)), (vec![4, 4, 4], 4));
    let made = make_moves(&leaving);
    assert_eq!(loads(&made), [6, 6, 0]);
    assert!(!after(&made, &MapChange::Leave(node(3))).has(node(3)));
    // The last one just goes.
    let alone = after(&cluster(2, 1), &MapChange::Leave(node(1)));
    assert_eq!(alone.members().count(), 0);
}

#[test]
fn a_mark_is_told_by_its_owner_alone_and_never_goes_back() {
    let map = cluster(4, 2);
    let range = map.owned_by(node(2)).next().unwrap();
    assert_eq!(map.after(&MapChange::Marked { range, owner: node(1), sequence: 9 }), None);
    let marked = after(&map, &MapChange::Marked { range, owner: node(2), sequence: 9 });
    assert_eq!(marked.entries()[usize::from(range.0)].floor, 9);
    assert_eq!(marked.after(&MapChange::Marked { range, owner: node(2), sequence: 8 }), None);
}

#[test]
fn the_largest_map_fits_its_document_and_no_node_more_joins() {
    let mut map = ClusterMap::found(RangeCount::new(RANGES_MAX).unwrap());
    for number in 0..NODES_MAX {
        map = join(&map, &format!("{number:02}{}", "\"".repeat(MEMBER_NAME_MAX_BYTES - 2)));
    }
    assert_eq!(map.after(&MapChange::Join { name: "one more".into() }), None);
    assert_eq!(map.after(&MapChange::Join { name: "x".repeat(MEMBER_NAME_MAX_BYTES + 1) }), None);
    let bytes = map.encode();
    assert!(bytes.len() < CONTROL_DOCUMENT_MAX_BYTES, "{}", bytes.len());
    let long = [bytes.as_slice(), &vec![b' '; CONTROL_DOCUMENT_MAX_BYTES]].concat();
    assert_eq!(ClusterMap::decode(&long), Err(DocumentError::TooLong));
}

fn documents() -> [(ControlKey, Vec<u8>); 3] {
    let cluster =
        ClusterDocument { name: "fleet".into(), ranges: RangeCount::default(), hash_seeds: [1, 2, 3, u64::MAX] };
    assert_eq!(ClusterDocument::decode(&cluster.encode()), Ok(cluster.clone()));
    let mut cut_off = NodeSet::default();
    for node in [node(1), node(NODES_MAX as u16)] {
        cut_off.insert(node);
    }
    let document = NodeDocument {
        boot: BootId(u64::MAX),
        beat: 7,
        link: "10.0.0.1:1885".into(),
        server: Some("broker-1.example".into()),
        version: "0.1.0".into(),
        epoch: u64::MAX,
        cut_off,
        floors: vec![u64::MAX, 0],
    };
    let without = NodeDocument { server: None, cut_off: NodeSet::default(), ..document.clone() };
    assert_eq!(NodeDocument::decode(&without.encode()), Ok(without));
    assert_eq!(NodeDocument::decode(&document.encode()), Ok(document.clone()));
    let map = after(&cluster_with_moves(), &MapChange::Marked { range: RangeId(0), owner: node(2), sequence: 5 });
    [
        (ControlKey::Cluster, cluster.encode()),
        (ControlKey::Node(node(2)), document.encode()),
        (ControlKey::Map, map.encode()),
    ]
}

fn cluster_with_moves() -> ClusterMap {
    after(&join(&cluster(4, 2), "n3"), &MapChange::Rebalance)
}

fn decode(key: ControlKey, bytes: &[u8]) -> Result<(), DocumentError> {
    match key {
        ControlKey::Cluster => ClusterDocument::decode(bytes).map(|_| ()),
        ControlKey::Node(_) => NodeDocument::decode(bytes).map(|_| ()),
        ControlKey::Map => ClusterMap::decode(bytes).map(|_| ()),
    }
}

#[test]
fn bytes_that_anybody_wrote_are_a_valid_document_or_none() {
    for (key, bytes) in documents() {
        for len in 0..bytes.len() {
            assert!(decode(key, &bytes[..len]).is_err(), "{key}: {len}");
        }
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            for byte in [0, b'"', b'9', b'{', b'}', b',', 0xff] {
                changed[at] = byte;
                if decode(key, &changed).is_ok()
                    && let (ControlKey::Map, Ok(map)) = (key, ClusterMap::decode(&changed))
                {
                    // Whatever is taken keeps what always holds, under every change.
                    assert_eq!(ClusterMap::decode(&map.encode()), Ok(map.clone()));
                    let _ = map.after(&MapChange::Death(node(1))).map(|map| map.after(&MapChange::Rebalance));
                }
            }
            changed[at] = bytes[at];
        }
        assert!(matches!(decode(key, &b"[".repeat(100_000)), Err(DocumentError::Shape(_))), "{key}");
    }
}

#[test]
fn maps_that_contradict_themselves_are_refused() {
    let text = String::from_utf8(cluster_with_moves().encode()).unwrap();
    let bad = [
        (r#""owner":1"#, r#""owner":7"#, "an owner that is no member"),
        (r#""next":3"#, r#""next":7"#, "an owner that is no member"),
        (r#""node":3"#, r#""node":2"#, "a member that is there twice"),
        (r#""name":"n3""#, r#""name":"n1""#, "a member that is there twice"),
        (r#""name":"n3""#, r#""name":"""#, "a name"),
        (r#""node":3"#, r#""node":0"#, "a node"),
        (r#""node":3"#, r#""node":65"#, "a node"),
        (r#""since":6"#, r#""since":9"#, "a member since a later epoch"),
    ];
    for (good, wrong, what) in bad {
        let changed = text.replacen(good, wrong, 1);
        assert_ne!(changed, text, "{good}");
        assert_eq!(ClusterMap::decode(changed.as_bytes()), Err(DocumentError::Value(what)), "{changed}");
    }
    let unknown = text.replacen("\"epoch\"", "\"colour\":1,\"epoch\"", 1);
    assert!(matches!(ClusterMap::decode(unknown.as_bytes()), Err(DocumentError::Shape(_))));
    // The highest epoch that somebody can write down is no reason to stop.
    let epoch = text.find("\"members\"").unwrap();
    let last = format!("{{\"format\":1,\"epoch\":{},{}", u64::MAX, &text[epoch..]);
    let last = ClusterMap::decode(last.as_bytes()).unwrap();
    assert_eq!(last.after(&MapChange::Death(node(1))).unwrap().epoch(), u64::MAX);
    // Of a later format nothing is read but its number.
    let later = br#"{"format":2,"epoch":{"more":[]}}"#;
    assert_eq!(ClusterMap::decode(later), Err(DocumentError::NewerFormat(u64::from(CONTROL_FORMAT) + 1)));
}

#[test]
fn keys_are_what_they_say() {
    for key in [ControlKey::Cluster, ControlKey::Map, ControlKey::Node(node(1)), ControlKey::Node(node(64))] {
        assert_eq!(ControlKey::parse(&key.to_string()), Some(key));
    }
    for key in ["", "node.", "node.0", "node.65", "node.01", "node.+1", "node.1.2", "Map", "node.99999999999"] {
        assert_eq!(ControlKey::parse(key), None, "{key}");
    }
}
