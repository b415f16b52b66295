//! Shapes: at which levels of a path the wildcards are. They bound what a match can cost.
//!
//! A topic fixes every literal level of a path, so it reaches at most one trie node of each shape, and a walk visits at
//! most as many nodes as there are shapes, whatever the number of filters. Fleets use a few dozen; a client that
//! subscribes to `+/+/a`, `+/a/+`, `a/+/+`, ... on sixteen levels would make 65,536, and every message to `a/a/...`
//! would visit them all. So the number of shapes is bounded (`FILTER_SHAPES_MAX`), except that the few shapes that short
//! filters can have are always admitted: nobody can use up what ordinary filters need.

use crate::limits::{FILTER_SHAPES_FREE_LEVELS, FILTER_SHAPES_MAX};

use crate::slab::Slab;

use super::entry::NONE;

/// One shape: how often it occurs, and the shapes that are one level longer.
#[derive(Debug)]
struct Shape {
    parent: u32,
    literal: u32,
    plus: u32,
    nodes: u32,
}

/// The shapes of all paths of the trie, themselves a tree; 0 is the empty path's.
#[derive(Debug)]
pub(super) struct Shapes(Slab<Shape>);

impl Shapes {
    pub(super) const ROOT: u32 = 0;

    pub(super) fn new() -> Self {
        let mut shapes = Slab::new();
        let root = shapes.insert(Shape { nodes: 1, ..Shape::default() });
        assert_eq!(root, Self::ROOT);
        Self(shapes)
    }

    /// How many there are, and so the most nodes that a walk can visit.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The shape of a new node one level below one of shape `parent`.
    pub(super) fn enter(&mut self, parent: u32, is_plus: bool) -> u32 {
        let known = self.child(parent, is_plus);
        let shape = if known == NONE {
            let new = self.0.insert(Shape { parent, ..Shape::default() });
            *self.child_mut(parent, is_plus) = new;
            new
        } else {
            known
        };
        self.0[shape].nodes += 1;
        shape
    }

    /// A node of this shape is gone. Its children went before it, so a shape that empties has none longer than itself.
    pub(super) fn leave(&mut self, shape: u32) {
        self.0[shape].nodes -= 1;
        if self.0[shape].nodes == 0 {
            let parent = self.0[shape].parent;
            let is_plus = self.0[parent].plus == shape;
            *self.child_mut(parent, is_plus) = NONE;
            let gone = self.0.remove(shape).expect("a shape goes once");
            assert!(gone.literal == NONE && gone.plus == NONE, "children go before their parents");
        }
    }

    /// Whether a path may be added whose levels are `+` or not, in this order.
    pub(super) fn admits(&self, levels: impl Iterator<Item = bool>) -> bool {
        let (mut shape, mut depth, mut new) = (Self::ROOT, 0, 0);
        for is_plus in levels {
            depth += 1;
            shape = if shape == NONE { NONE } else { self.child(shape, is_plus) };
            new += usize::from(shape == NONE);
        }
        new == 0 || depth <= FILTER_SHAPES_FREE_LEVELS || self.len() + new <= FILTER_SHAPES_MAX
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    fn child(&self, parent: u32, is_plus: bool) -> u32 {
        let parent = &self.0[parent];
        if is_plus { parent.plus } else { parent.literal }
    }

    fn child_mut(&mut self, parent: u32, is_plus: bool) -> &mut u32 {
        let parent = &mut self.0[parent];
        if is_plus { &mut parent.plus } else { &mut parent.literal }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self { parent: NONE, literal: NONE, plus: NONE, nodes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_counted_once_and_go_with_their_last_node() {
        let mut shapes = Shapes::new();
        let plus = shapes.enter(Shapes::ROOT, true);
        let literal = shapes.enter(Shapes::ROOT, false);
        assert_eq!(shapes.enter(Shapes::ROOT, false), literal);
        let below = shapes.enter(plus, false);
        assert_eq!(shapes.len(), 4);
        shapes.leave(literal);
        assert_eq!(shapes.len(), 4);
        for shape in [literal, below, plus] {
            shapes.leave(shape);
        }
        assert_eq!(shapes.len(), 1);
    }

    #[test]
    fn new_shapes_are_refused_at_the_limit_but_never_short_ones_and_never_known_ones() {
        let mut shapes = Shapes::new();
        let add = |shapes: &mut Shapes, path: &[bool]| {
            path.iter().fold(Shapes::ROOT, |shape, &is_plus| shapes.enter(shape, is_plus));
        };
        let mut refused = false;
        for bits in 0..1_u32 << 16 {
            let path: Vec<bool> = (0..16).map(|level| bits >> level & 1 == 1).collect();
            if shapes.admits(path.iter().copied()) {
                add(&mut shapes, &path);
            } else {
                refused = true;
            }
        }
        assert!(refused && shapes.len() <= FILTER_SHAPES_MAX);
        assert!(shapes.admits([false; 16].into_iter()), "a known shape costs nothing");
        assert!(!shapes.admits([true; 100].into_iter()));
        for bits in 0..1_u32 << FILTER_SHAPES_FREE_LEVELS {
            let path: Vec<bool> = (0..FILTER_SHAPES_FREE_LEVELS).map(|level| bits >> level & 1 == 1).collect();
            assert!(shapes.admits(path.iter().copied()));
            add(&mut shapes, &path);
        }
        assert!(shapes.len() <= FILTER_SHAPES_MAX + (2 << FILTER_SHAPES_FREE_LEVELS));
    }
}
