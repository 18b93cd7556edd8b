//! The topics of one subscriber: a set of byte strings that knows whether one of them begins a message.
//!
//! A compressed radix trie: an edge carries as many bytes as no topic branches off between, so that
//! matching costs what the matching part of the body is long and next to nothing for the number of
//! topics. Everything lies in a few arrays, in which nodes name each other by index. There is nothing
//! to follow when the set is dropped, nothing recurses, and matching allocates nothing.
//!
//! ```text
//! "", "ab", "abcd", "abx"       root*  --ab-->  node*  --cd--> leaf*
//! (* a topic ends here)                              \--x---> leaf*
//! ```

/// A set of topics.
///
/// Takes less than 4 GiB of topics in all.
#[derive(Debug)]
pub(super) struct Topics {
    nodes: Arena<Node>,
    /// The labels of all nodes, one after the other.
    labels: Vec<u8>,
    /// How many bytes of `labels` belong to no node any more.
    waste: usize,
    fours: Arena<Fork<4>>,
    sixteens: Arena<Fork<16>>,
    tables: Arena<Table>,
    len: usize,
}

/// The index of the root, whose label is empty. It is always there.
const ROOT: u32 = 0;

/// Compaction is not worth while below this.
const TOLERATED_WASTE: usize = 4096;

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Where the label begins; that of every node but the root has at least one byte.
    start: u32,
    len: u32,
    branches: Branches,
    /// A topic ends here.
    subscribed: bool,
}

/// The nodes below, each found by the first byte of its label.
///
/// A node without a topic of its own has at least two of them, but for the root.
#[derive(Clone, Copy, Debug, Default)]
enum Branches {
    #[default]
    None,
    One(u32),
    /// An index into `fours`, and so on.
    Four(u32),
    Sixteen(u32),
    Table(u32),
}

impl Topics {
    pub(super) fn new() -> Self {
        let mut nodes = Arena::default();
        nodes.add(Node::default());
        Self {
            nodes,
            labels: Vec::new(),
            waste: 0,
            fours: Arena::default(),
            sixteens: Arena::default(),
            tables: Arena::default(),
            len: 0,
        }
    }

    /// Whether some topic is a prefix of `body`. The empty topic is one of everything.
    pub(super) fn matches(&self, body: &[u8]) -> bool {
        let mut node = self.nodes.at(ROOT);
        let mut rest = body;
        loop {
            if node.subscribed {
                return true;
            }
            let Some((&byte, behind)) = rest.split_first() else {
                return false;
            };
            let Some(child) = self.child(node, byte) else {
                return false;
            };
            node = self.nodes.at(child);
            let Some(behind) = self.strip_tail(behind, node) else {
                return false;
            };
            rest = behind;
        }
    }

    /// What follows the label in a body that is known to go on with its first byte.
    ///
    /// Where topics are many most labels are that one byte, and another cache line is not touched.
    fn strip_tail<'a>(&self, behind: &'a [u8], node: &Node) -> Option<&'a [u8]> {
        match node.len {
            1 => Some(behind),
            _ => behind.strip_prefix(&self.label(node)[1..]),
        }
    }

    /// Adds a topic; `false` if it is there already.
    pub(super) fn insert(&mut self, topic: &[u8]) -> bool {
        let mut at = ROOT;
        let mut rest = topic;
        loop {
            let label = self.label(self.nodes.at(at));
            let common = common_prefix(label, rest);
            if common < label.len() {
                self.split(at, common);
            }
            rest = rest.get(common..).unwrap_or_default();
            let Some(&byte) = rest.first() else {
                let added = !std::mem::replace(&mut self.nodes.at_mut(at).subscribed, true);
                self.len += usize::from(added);
                return added;
            };
            at = match self.child(self.nodes.at(at), byte) {
                Some(child) => child,
                None => self.add_leaf(at, byte, rest),
            };
        }
    }

    /// Takes a topic out; `false` if it is not there.
    pub(super) fn remove(&mut self, topic: &[u8]) -> bool {
        let Some((at, parent)) = self.find(topic) else {
            return false;
        };
        if !std::mem::replace(&mut self.nodes.at_mut(at).subscribed, false) {
            return false;
        }
        self.len -= 1;
        if self.len == 0 {
            *self = Self::new();
            return true;
        }
        if let Branches::None = self.nodes.at(at).branches {
            self.remove_leaf(at, parent);
            self.join(parent);
        } else {
            self.join(at);
        }
        if self.waste > TOLERATED_WASTE && self.waste > self.labels.len() / 2 {
            self.compact();
        }
        true
    }

    /// The node at which `topic` would end, and the node above.
    fn find(&self, topic: &[u8]) -> Option<(u32, u32)> {
        let (mut at, mut parent) = (ROOT, ROOT);
        let mut rest = topic;
        while let Some(&byte) = rest.first() {
            let child = self.child(self.nodes.at(at), byte)?;
            rest = rest.strip_prefix(self.label(self.nodes.at(child)))?;
            (at, parent) = (child, at);
        }
        Some((at, parent))
    }

    fn label(&self, node: &Node) -> &[u8] {
        &self.labels[node.start as usize..][..node.len as usize]
    }

    fn first_byte(&self, at: u32) -> u8 {
        self.labels[self.nodes.at(at).start as usize]
    }

    fn child(&self, node: &Node, byte: u8) -> Option<u32> {
        match node.branches {
            Branches::None => None,
            Branches::One(child) => (self.first_byte(child) == byte).then_some(child),
            Branches::Four(index) => self.fours.at(index).child(byte),
            Branches::Sixteen(index) => self.sixteens.at(index).child(byte),
            Branches::Table(index) => self.tables.at(index).child(byte),
        }
    }

    /// Makes the node at `at` end after `keep` bytes of its label, with the rest of it in a node below.
    fn split(&mut self, at: u32, keep: usize) {
        let keep = index(keep);
        let node = *self.nodes.at(at);
        let below = Node { start: node.start + keep, len: node.len - keep, ..node };
        let below = self.nodes.add(below);
        *self.nodes.at_mut(at) =
            Node { len: keep, branches: Branches::One(below), subscribed: false, ..node };
    }

    /// Appends `rest` as a new node below `parent`. No topic ends there yet.
    fn add_leaf(&mut self, parent: u32, byte: u8, rest: &[u8]) -> u32 {
        let start = index(self.labels.len());
        self.labels.extend_from_slice(rest);
        let leaf = Node { start, len: index(rest.len()), ..Node::default() };
        let leaf = self.nodes.add(leaf);
        self.add_child(parent, byte, leaf);
        leaf
    }

    fn remove_leaf(&mut self, leaf: u32, parent: u32) {
        let byte = self.first_byte(leaf);
        self.remove_child(parent, byte);
        self.waste += self.nodes.at(leaf).len as usize;
        *self.nodes.at_mut(leaf) = Node::default();
        self.nodes.release(leaf);
    }

    /// Makes one node of a node without a topic and the only node below it.
    fn join(&mut self, at: u32) {
        let upper = *self.nodes.at(at);
        let Branches::One(below) = upper.branches else {
            return;
        };
        if at == ROOT || upper.subscribed {
            return;
        }
        let lower = std::mem::take(self.nodes.at_mut(below));
        self.nodes.release(below);
        let start = self.join_labels(&upper, &lower);
        *self.nodes.at_mut(at) = Node { start, len: upper.len + lower.len, ..lower };
    }

    /// Where both labels stand one behind the other. Parts of what was split do so already.
    fn join_labels(&mut self, upper: &Node, lower: &Node) -> u32 {
        if upper.start + upper.len == lower.start {
            return upper.start;
        }
        let start = index(self.labels.len());
        for node in [upper, lower] {
            let label = node.start as usize..(node.start + node.len) as usize;
            self.labels.extend_from_within(label);
            self.waste += node.len as usize;
        }
        start
    }

    /// Moves the labels together.
    fn compact(&mut self) {
        let mut labels = Vec::with_capacity(self.labels.len() - self.waste);
        for node in &mut self.nodes.slots {
            let label = &self.labels[node.start as usize..][..node.len as usize];
            node.start = index(labels.len());
            labels.extend_from_slice(label);
        }
        self.labels = labels;
        self.waste = 0;
    }

    fn add_child(&mut self, at: u32, byte: u8, child: u32) {
        let branches = self.nodes.at(at).branches;
        let grown = match branches {
            Branches::None => Branches::One(child),
            Branches::One(only) => {
                let mut fork = Fork::default();
                fork.add(self.first_byte(only), only);
                fork.add(byte, child);
                Branches::Four(self.fours.add(fork))
            }
            Branches::Four(index) if self.fours.at_mut(index).add(byte, child) => branches,
            Branches::Sixteen(index) if self.sixteens.at_mut(index).add(byte, child) => branches,
            Branches::Four(index) => {
                let mut fork = self.fours.release(index).resized();
                fork.add(byte, child);
                Branches::Sixteen(self.sixteens.add(fork))
            }
            Branches::Sixteen(index) => {
                let mut table = Table::from(self.sixteens.release(index));
                table.add(byte, child);
                Branches::Table(self.tables.add(table))
            }
            Branches::Table(index) => {
                self.tables.at_mut(index).add(byte, child);
                branches
            }
        };
        self.nodes.at_mut(at).branches = grown;
    }

    /// Shrinks a little later than `add_child` grows, so that one topic that comes and goes does not
    /// make work each time.
    fn remove_child(&mut self, at: u32, byte: u8) {
        let branches = self.nodes.at(at).branches;
        let shrunk = match branches {
            Branches::None | Branches::One(_) => Branches::None,
            Branches::Four(index) => match self.fours.at_mut(index).remove(byte) {
                1 => Branches::One(self.fours.release(index).children[0]),
                _ => branches,
            },
            Branches::Sixteen(index) => match self.sixteens.at_mut(index).remove(byte) {
                ..=3 => {
                    let fork = self.sixteens.release(index).resized();
                    Branches::Four(self.fours.add(fork))
                }
                _ => branches,
            },
            Branches::Table(index) => match self.tables.at_mut(index).remove(byte) {
                ..=12 => {
                    let fork = Fork::from(self.tables.release(index));
                    Branches::Sixteen(self.sixteens.add(fork))
                }
                _ => branches,
            },
        };
        self.nodes.at_mut(at).branches = shrunk;
    }
}

/// Up to `N` nodes below, in any order.
#[derive(Clone, Copy, Debug)]
struct Fork<const N: usize> {
    len: u8,
    bytes: [u8; N],
    children: [u32; N],
}

impl<const N: usize> Default for Fork<N> {
    fn default() -> Self {
        Self { len: 0, bytes: [0; N], children: [0; N] }
    }
}

impl<const N: usize> Fork<N> {
    fn entries(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.bytes.iter().copied().zip(self.children.iter().copied()).take(usize::from(self.len))
    }

    fn child(&self, byte: u8) -> Option<u32> {
        let at = self.bytes[..usize::from(self.len)].iter().position(|&other| other == byte)?;
        Some(self.children[at])
    }

    /// `false` if there is no room.
    fn add(&mut self, byte: u8, child: u32) -> bool {
        let at = usize::from(self.len);
        if at == N {
            return false;
        }
        (self.bytes[at], self.children[at]) = (byte, child);
        self.len += 1;
        true
    }

    /// How many are left.
    fn remove(&mut self, byte: u8) -> u8 {
        let at = self.bytes[..usize::from(self.len)].iter().position(|&other| other == byte);
        if let Some(at) = at {
            self.len -= 1;
            let last = usize::from(self.len);
            self.bytes.swap(at, last);
            self.children.swap(at, last);
        }
        self.len
    }

    /// One with more room, or less where it has enough.
    fn resized<const M: usize>(&self) -> Fork<M> {
        self.entries().collect()
    }
}

impl<const N: usize> FromIterator<(u8, u32)> for Fork<N> {
    fn from_iter<I: IntoIterator<Item = (u8, u32)>>(entries: I) -> Self {
        let mut fork = Self::default();
        for (byte, child) in entries {
            fork.add(byte, child);
        }
        fork
    }
}

/// Any number of nodes below, by byte; the root, which is below none, stands for nobody.
#[derive(Clone, Copy, Debug)]
struct Table {
    len: u16,
    children: [u32; 256],
}

impl Table {
    fn child(&self, byte: u8) -> Option<u32> {
        Some(self.children[usize::from(byte)]).filter(|&child| child != ROOT)
    }

    fn add(&mut self, byte: u8, child: u32) {
        self.children[usize::from(byte)] = child;
        self.len += 1;
    }

    /// How many are left.
    fn remove(&mut self, byte: u8) -> u16 {
        self.children[usize::from(byte)] = ROOT;
        self.len -= 1;
        self.len
    }
}

impl From<Fork<16>> for Table {
    fn from(fork: Fork<16>) -> Self {
        let mut table = Self { len: 0, children: [ROOT; 256] };
        for (byte, child) in fork.entries() {
            table.add(byte, child);
        }
        table
    }
}

impl From<Table> for Fork<16> {
    fn from(table: Table) -> Self {
        let entries = (0..=u8::MAX).filter_map(|byte| Some((byte, table.child(byte)?)));
        entries.collect()
    }
}

/// Things in one array, named by index. What was released is used again.
#[derive(Debug)]
struct Arena<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T: Copy> Arena<T> {
    fn add(&mut self, thing: T) -> u32 {
        if let Some(free) = self.free.pop() {
            *self.at_mut(free) = thing;
            return free;
        }
        if self.slots.len() == self.slots.capacity() {
            // Doubling would leave half of a large set's memory unused.
            self.slots.reserve_exact(self.slots.len() / 8 + 4);
        }
        self.slots.push(thing);
        index(self.slots.len() - 1)
    }

    /// Gives the slot back, with what it held.
    fn release(&mut self, at: u32) -> T {
        self.free.push(at);
        *self.at(at)
    }

    fn at(&self, at: u32) -> &T {
        &self.slots[at as usize]
    }

    fn at_mut(&mut self, at: u32) -> &mut T {
        &mut self.slots[at as usize]
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).expect("the topics of one subscriber take less than 4 GiB")
}

/// How many bytes `a` and `b` begin with in common. Fast where one is a prefix of the other.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let shorter = a.len().min(b.len());
    if a[..shorter] == b[..shorter] {
        return shorter;
    }
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn topics<'a>(topics: impl IntoIterator<Item = &'a [u8]>) -> Topics {
        let mut set = Topics::new();
        for topic in topics {
            set.insert(topic);
        }
        set
    }

    impl Topics {
        /// Bytes of memory, spare room included.
        fn memory(&self) -> usize {
            fn arena<T>(arena: &Arena<T>) -> usize {
                arena.slots.capacity() * size_of::<T>() + arena.free.capacity() * size_of::<u32>()
            }
            self.labels.capacity()
                + arena(&self.nodes)
                + arena(&self.fours)
                + arena(&self.sixteens)
                + arena(&self.tables)
        }
    }

    /// Different each time, the same in each run.
    fn random_topics(count: usize) -> Vec<[u8; 32]> {
        let mut state = 7u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state ^ (state >> 29)).to_le_bytes()
        };
        (0..count).map(|_| [word(), word(), word(), word()].concat().try_into().unwrap()).collect()
    }

    /// C141.
    #[test]
    fn a_topic_matches_what_begins_with_it() {
        let bodies: [&[u8]; 6] = [b"", b"a", b"ab", b"abcd", b"ba", b"\0"];
        for topic in [&b""[..], b"a", b"ab", b"abc", b"b"] {
            let set = topics([topic]);
            for body in bodies {
                assert_eq!(set.matches(body), body.starts_with(topic), "{topic:?} {body:?}");
            }
        }
    }

    /// C142.
    #[test]
    fn topics_are_bytes() {
        let set = topics([&b"\0"[..], b"\xFF\0\xFF"]);
        assert!(set.matches(b"\0\0") && set.matches(b"\xFF\0\xFF"));
        assert!(!set.matches(b"\xFF\0") && !set.matches(b"") && !set.matches(b"0"));
    }

    /// C143, C144, D14, D15.
    #[test]
    fn a_topic_is_there_or_not() {
        let mut set = Topics::new();
        assert!(set.insert(b"x") && !set.insert(b"x"));
        assert!(!set.remove(b"xy") && !set.remove(b"") && !set.remove(b"y"));
        assert!(set.matches(b"x"));
        assert!(set.remove(b"x") && !set.remove(b"x"));
        assert!(!set.matches(b"x"));
    }

    /// C145, C146.
    #[test]
    fn removing_a_topic_leaves_those_that_begin_with_it() {
        let mut set = topics([&b"abc"[..], b"abcd", b"", b"a"]);
        assert!(set.remove(b"") && set.remove(b"a") && set.remove(b"abc"));
        assert!(set.matches(b"abcde") && !set.matches(b"abcx") && !set.matches(b"x"));
    }

    #[test]
    fn a_hundred_thousand_topics_within_each_other_need_no_deep_stack() {
        const DEPTH: usize = 100_000;
        let deepest = [b'a'; DEPTH];
        let mut set = Topics::new();
        // Longest first, since the other way round each insert walks the whole chain.
        (1..=DEPTH).rev().for_each(|len| assert!(set.insert(&deepest[..len])));
        assert!(!set.insert(&deepest) && set.matches(&deepest) && !set.matches(b"b"));
        (1..DEPTH / 2).for_each(|len| assert!(set.remove(&deepest[..len])));
        assert!(set.remove(&deepest));
        assert!(set.matches(&deepest) && !set.matches(&deepest[1..DEPTH / 2]));
    }

    /// Issue 3: at most 96 bytes besides the topic. Random topics fill every kind of node; nested and
    /// two-letter ones make the most nodes for their number.
    #[test]
    fn a_subscription_takes_little_memory() {
        let random = random_topics(100_000);
        let nested: Vec<Vec<u8>> = (1..1000).map(|len| vec![b'a'; len]).collect();
        let binary: Vec<Vec<u8>> =
            (0..1 << 14).map(|n| (0..14).map(|bit| (n >> bit & 1) as u8).collect()).collect();
        for set in [
            random.iter().map(|topic| &topic[..]).collect::<Vec<_>>(),
            nested.iter().map(|topic| &topic[..]).collect(),
            binary.iter().map(|topic| &topic[..]).collect(),
        ] {
            let bytes: usize = set.iter().map(|topic| topic.len()).sum();
            let memory = topics(set.iter().copied()).memory();
            assert!(memory <= 96 * set.len() + bytes, "{memory} for {} topics", set.len());
        }
    }

    #[test]
    fn memory_is_used_again() {
        let all = random_topics(3000);
        let mut set = topics(all.iter().map(|topic| &topic[..]));
        let before = set.memory();
        for _round in 0..20 {
            for topic in &all[1..] {
                assert!(set.remove(topic));
            }
            for topic in &all[1..] {
                assert!(set.insert(topic));
            }
        }
        assert!(set.memory() <= 2 * before, "{} after {before}", set.memory());
        all.iter().for_each(|topic| assert!(set.remove(topic)));
        assert!(set.memory() < 1000);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>),
        Remove(Vec<u8>),
        /// Of those that are there.
        RemoveOne(prop::sample::Index),
    }

    /// Few letters, so that topics meet; now and then any byte, so that nodes grow.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let letter = prop_oneof![3 => 0..2u8, 1 => any::<u8>()];
        prop::collection::vec(letter, 0..8)
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => bytes().prop_map(Step::Insert),
            1 => bytes().prop_map(Step::Remove),
            3 => any::<prop::sample::Index>().prop_map(Step::RemoveOne),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        /// C147.
        #[test]
        fn the_trie_agrees_with_a_list(
            steps in steps(), bodies in prop::collection::vec(bytes(), 32),
        ) {
            let (mut set, mut list) = (Topics::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(topic) => {
                        prop_assert_eq!(set.insert(&topic), list.insert(topic.clone()));
                    }
                    Step::Remove(topic) => {
                        prop_assert_eq!(set.remove(&topic), list.remove(&topic));
                    }
                    Step::RemoveOne(_) if list.is_empty() => {}
                    Step::RemoveOne(which) => {
                        let topic = list.iter().nth(which.index(list.len())).unwrap().clone();
                        prop_assert!(set.remove(&topic) && list.remove(&topic));
                    }
                }
                for body in &bodies {
                    let expected = list.iter().any(|topic| body.starts_with(topic));
                    prop_assert_eq!(set.matches(body), expected, "{:?}", body);
                }
            }
        }
    }
}
