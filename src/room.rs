//! Room: what tables keep of the memory that a crowd has taken.
//!
//! Owns the rule by which a table that nearly everybody has left gives back what the others took. A table that is
//! used evenly never does: it keeps up to four times the room that it needs. The rule asks when the number of
//! those that are left is a power of two, so a crowd that leaves one by one costs a few looks at the table.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};

use slab::Slab;

/// A smaller table keeps its room.
const LEAST: usize = 16;

/// Whether a table of `len` that has room for `capacity` gives some of it back.
fn is_wide(len: usize, capacity: usize) -> bool {
    capacity > LEAST && len <= capacity / 4 && (len == 0 || len.is_power_of_two())
}

/// A table that gives back room after something was taken out of it.
pub(crate) trait GiveBack {
    /// How many it holds, and for how many it has room.
    fn room(&self) -> (usize, usize);

    /// Leaves it no more than this room, or what it needs.
    fn shrink(&mut self, room: usize);

    /// Gives back room that is not needed any more, if there is a lot of it.
    fn give_back(&mut self) {
        let (len, capacity) = self.room();
        if is_wide(len, capacity) {
            self.shrink(2 * len);
        }
    }
}

/// What stays keeps its place, so there is room up to the last of it.
impl<T> GiveBack for Slab<T> {
    fn room(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, _room: usize) {
        self.shrink_to_fit();
    }
}

impl<T> GiveBack for Vec<T> {
    fn room(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, room: usize) {
        self.shrink_to(room);
    }
}

impl<T> GiveBack for VecDeque<T> {
    fn room(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, room: usize) {
        self.shrink_to(room);
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> GiveBack for HashMap<K, V, S> {
    fn room(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, room: usize) {
        self.shrink_to(room);
    }
}

impl<T: Eq + Hash, S: BuildHasher> GiveBack for HashSet<T, S> {
    fn room(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, room: usize) {
        self.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets 10,000 in, and then all but `left` of them out, in the order that `next` says.
    fn crowd(left: usize, next: impl Fn(&Slab<usize>) -> usize) -> Slab<usize> {
        let mut slab: Slab<usize> = Slab::new();
        (0..10_000).for_each(|n| assert_eq!(slab.insert(n), n));
        while slab.len() > left {
            slab.remove(next(&slab));
            slab.give_back();
        }
        assert!(slab.iter().all(|(place, &n)| place == n), "what is left keeps its place");
        slab
    }

    #[test]
    fn a_slab_gives_back_the_room_of_a_crowd() {
        let last = |slab: &Slab<usize>| slab.iter().next_back().unwrap().0;
        let first = |slab: &Slab<usize>| slab.iter().next().unwrap().0;
        assert!(crowd(10, last).capacity() < 128);
        assert!(crowd(0, last).capacity() <= LEAST);
        assert!(crowd(0, first).capacity() <= LEAST);
        assert_eq!(crowd(1, first).capacity(), 10_000, "the last one has its place at the end");
    }

    #[test]
    fn a_map_gives_back_the_room_of_a_crowd() {
        let mut map: HashMap<usize, ()> = (0..10_000).map(|n| (n, ())).collect();
        for n in 0..9990 {
            map.remove(&n);
            map.give_back();
        }
        assert!((9990..10_000).all(|n| map.contains_key(&n)) && map.capacity() < 128);
    }

    #[test]
    fn a_table_that_is_used_evenly_keeps_its_room() {
        let mut slab: Slab<usize> = (0..100).map(|n| (n, n)).collect();
        let room = slab.capacity();
        for n in 0..60 {
            slab.remove(n);
            slab.give_back();
        }
        assert_eq!(slab.capacity(), room);
    }
}
