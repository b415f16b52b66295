//! Who goes out of the map because links do not stand, and who may call whom dead.

use super::membership::{Fleet, nodes_of};
use crate::cluster::{MapChange, MembershipNews, NodeId, NodeSet, Standing};
use crate::limits::{CUT_OFF_MS, DEATH_MS};

fn members(nodes: &Fleet, at: usize) -> Vec<u16> {
    nodes.nodes[at].map().unwrap().members().map(|(node, _)| node.get()).collect()
}

/// A node does not reach these of three.
fn apart(nodes: &mut Fleet, at: usize, others: &[u16]) {
    let reached: Vec<u16> = (1..=3).filter(|number| !others.contains(number)).collect();
    nodes.nodes[at].tell_links(nodes_of(&reached), nodes_of(others));
}

#[test]
fn of_two_that_do_not_reach_each_other_the_higher_number_goes() {
    let mut nodes = Fleet::new(3);
    apart(&mut nodes, 0, &[3]);
    apart(&mut nodes, 2, &[1]);
    nodes.run(CUT_OFF_MS, &[]);
    assert_eq!(members(&nodes, 1), [1, 2, 3], "others may have more to say");
    nodes.run(2_500, &[]);
    assert_eq!(members(&nodes, 1), [1, 2]);
    assert_eq!(nodes.standing(2), Standing::Out);
    let third = NodeId::new(3).unwrap();
    assert!((0..3).any(|node| nodes.news(node).contains(&MembershipNews::CutOff(third))));
    // What the other side says is enough, and what is said of who is out is nothing any more.
    nodes.run(3 * CUT_OFF_MS, &[2]);
    assert_eq!(members(&nodes, 0), [1, 2]);
}

#[test]
fn one_side_that_says_so_is_enough() {
    let mut nodes = Fleet::new(3);
    apart(&mut nodes, 2, &[2]);
    nodes.run(CUT_OFF_MS + 2_500, &[]);
    assert_eq!(members(&nodes, 0), [1, 2]);
}

#[test]
fn who_lacks_most_goes_though_others_have_spoken_first() {
    let mut nodes = Fleet::new(3);
    apart(&mut nodes, 2, &[1]);
    nodes.run(1_900, &[]);
    apart(&mut nodes, 1, &[1]);
    apart(&mut nodes, 0, &[2, 3]);
    nodes.run(CUT_OFF_MS + 2_500, &[]);
    assert_eq!(members(&nodes, 1), [2, 3]);
    assert_eq!((nodes.standing(0), nodes.standing(2)), (Standing::Out, Standing::Member));
}

#[test]
fn links_that_stand_again_in_time_put_nobody_out() {
    let mut nodes = Fleet::new(3);
    for _ in 0..5 {
        apart(&mut nodes, 0, &[3]);
        nodes.run(2_000, &[]);
        apart(&mut nodes, 0, &[]);
        nodes.run(1_200, &[]);
    }
    assert_eq!(members(&nodes, 1), [1, 2, 3]);
}

#[test]
fn a_change_that_the_beats_do_not_bear_out_is_not_made() {
    let mut nodes = Fleet::new(3);
    let [first, second] = [1, 2].map(|number| NodeId::new(number).unwrap());
    nodes.nodes[0].request(MapChange::CutOff(second));
    nodes.nodes[1].request(MapChange::CutOff(first));
    nodes.run(3_000, &[]);
    assert_eq!(members(&nodes, 2), [1, 2, 3]);
}

#[test]
fn nobody_joins_who_does_not_reach_all() {
    let mut nodes = Fleet::new(2);
    nodes.start("n3", 3);
    nodes.nodes[2].tell_links(nodes_of(&[2]), NodeSet::default());
    nodes.run(10_000, &[]);
    assert_eq!((members(&nodes, 0), nodes.standing(2)), (vec![1, 2], Standing::Joining));
    nodes.nodes[2].tell_links(nodes_of(&[1, 2]), NodeSet::default());
    nodes.run(2_000, &[]);
    assert_eq!((members(&nodes, 0), nodes.standing(2)), (vec![1, 2, 3], Standing::Member));
    assert!(nodes.nodes[2].has_joined());
}

#[test]
fn nobody_is_called_dead_by_a_member_that_he_may_not_know_of() {
    let mut nodes = Fleet::new(1);
    nodes.start("n2", 2);
    // The first serves on, unheard, and does not know that there is a second now.
    nodes.run(3 * DEATH_MS, &[0]);
    assert_eq!((members(&nodes, 1), nodes.standing(1)), (vec![1, 2], Standing::Member));
    // A successor of the second knows no more than that.
    nodes.start("n2", 22);
    nodes.run(3 * DEATH_MS, &[0, 1]);
    assert_eq!((members(&nodes, 2), nodes.standing(2)), (vec![1, 2], Standing::Member));
    assert!(!nodes.nodes[2].has_joined());
    nodes.catch_up(0);
    nodes.run(2_500, &[1]);
    assert_eq!(nodes.standing(0), Standing::Member);
    nodes.run(DEATH_MS + 2_500, &[0, 1]);
    assert_eq!(members(&nodes, 2), [2]);
}

#[test]
fn a_death_that_the_beats_do_not_bear_out_is_not_made() {
    let mut nodes = Fleet::new(3);
    let third = NodeId::new(3).unwrap();
    nodes.nodes[0].request(MapChange::Death(third));
    nodes.nodes[1].request(MapChange::Death(third));
    nodes.run(1_500, &[]);
    assert_eq!(members(&nodes, 0), [1, 2, 3]);
}
