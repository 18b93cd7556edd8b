//! The topics of one subscriber: a set of byte strings that can tell whether a message begins with one of them.
//!
//! A compressed radix trie whose leaves are buckets. A node holds the bytes that all topics below it have in
//! common, and a branch for each byte that may follow. Where few topics are left, they are side by side in one
//! piece of memory, a [`Bucket`], instead of in nodes of their own.
//!
//! ```text
//! "ab", "abcd", "abce", "abxyz"       node "ab"*  --c--> bucket: "d", "e"
//! (* a topic ends here)                           \--x--> bucket: "yz"
//! ```
//!
//! The cost of a match is the number of loads that miss the cache and have to wait for each other. A bucket
//! holds ten to a hundred topics, so the nodes of a million random topics take up to two megabytes and tend
//! to stay in the cache; what remains is to load one bucket, whose lines are requested together. With a
//! million topics a match costs two to four times what it costs with ten, as long as its path is in the
//! cache. For random messages it costs about two more misses of 100 to 200 ns each (as measured), five to ten
//! times the cost with ten topics, all of which are in the cache. Whatever the body, the walk is no longer
//! than the body, and compares at most [`MOST_TOPICS`] topics with it.
//!
//! Nodes refer to each other by index: nothing recurses, not even dropping, and matching allocates nothing.

/// A set of topics.
#[derive(Debug)]
pub(crate) struct Topics {
    root: Branch,
    nodes: Arena<Node>,
    len: usize,
    /// Whether the empty topic is among them.
    takes_all: bool,
}

/// What follows one byte.
#[derive(Debug)]
enum Branch {
    /// An index into `nodes`.
    Node(u32),
    Bucket(Bucket),
}

/// The position of a branch.
#[derive(Clone, Copy, Debug)]
enum BranchId {
    Root,
    /// The index of a node, and of one of its branches.
    Below(u32, usize),
}

impl Topics {
    pub(crate) fn new() -> Self {
        Self { root: Branch::default(), nodes: Arena::default(), len: 0, takes_all: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether some topic is a prefix of `body`. The empty topic is a prefix of everything.
    #[inline]
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        self.takes_all || self.has_prefix_of(body)
    }

    fn has_prefix_of(&self, body: &[u8]) -> bool {
        let mut branch = &self.root;
        let mut rest = body;
        loop {
            let node = match branch {
                Branch::Node(node) => self.nodes.at(*node),
                Branch::Bucket(bucket) => return bucket.matches(rest),
            };
            let Some(behind) = strip(rest, &node.label) else {
                return false;
            };
            if node.subscribed {
                return true;
            }
            let Some((&byte, behind)) = behind.split_first() else {
                return false;
            };
            let Some(at) = node.position(byte) else {
                return false;
            };
            (branch, rest) = (&node.branches[at], behind);
        }
    }

    /// Adds a topic; `false` if it is already there.
    pub(crate) fn insert(&mut self, topic: &[u8]) -> bool {
        let added = self.add(topic);
        self.len += usize::from(added);
        self.takes_all |= topic.is_empty();
        added
    }

    fn add(&mut self, topic: &[u8]) -> bool {
        let (mut id, mut rest) = (BranchId::Root, topic);
        loop {
            let at = match self.branch_mut(id) {
                Branch::Node(node) => *node,
                Branch::Bucket(bucket) => {
                    if bucket.position(rest).is_some() {
                        return false;
                    }
                    if bucket.add(rest) {
                        return true;
                    }
                    self.burst(id, rest)
                }
            };
            let common = common_prefix(&self.nodes.at(at).label, rest);
            if common < self.nodes.at(at).label.len() {
                self.split(at, common);
            }
            let node = self.nodes.at_mut(at);
            let Some((&byte, behind)) = rest[common..].split_first() else {
                return !std::mem::replace(&mut node.subscribed, true);
            };
            let Some(below) = node.position(byte) else {
                node.add(byte, Branch::Bucket(Bucket::of_one(behind)));
                return true;
            };
            (id, rest) = (BranchId::Below(at, below), behind);
        }
    }

    /// Removes a topic; `false` if it is not there.
    pub(super) fn remove(&mut self, topic: &[u8]) -> bool {
        let Some((path, rest)) = self.find(topic) else {
            return false;
        };
        let id = path[path.len() - 1];
        let removed = match self.branch_mut(id) {
            Branch::Bucket(bucket) => bucket.remove(rest),
            &mut Branch::Node(at) => {
                std::mem::replace(&mut self.nodes.at_mut(at).subscribed, false)
            }
        };
        if !removed {
            return false;
        }
        self.len -= 1;
        self.takes_all &= !topic.is_empty();
        if self.len == 0 {
            *self = Self::new();
            return true;
        }
        self.tidy(&path);
        true
    }

    /// Returns the branches down to the bucket or node in which `topic` would end, and the bytes of it that are
    /// left there.
    fn find<'a>(&self, topic: &'a [u8]) -> Option<(Vec<BranchId>, &'a [u8])> {
        let (mut path, mut rest) = (vec![BranchId::Root], topic);
        while let &Branch::Node(at) = self.branch(path[path.len() - 1]) {
            let node = self.nodes.at(at);
            let Some((&byte, behind)) = rest.strip_prefix(&*node.label)?.split_first() else {
                break;
            };
            path.push(BranchId::Below(at, node.position(byte)?));
            rest = behind;
        }
        Some((path, rest))
    }

    fn branch(&self, id: BranchId) -> &Branch {
        match id {
            BranchId::Root => &self.root,
            BranchId::Below(node, at) => &self.nodes.at(node).branches[at],
        }
    }

    fn branch_mut(&mut self, id: BranchId) -> &mut Branch {
        match id {
            BranchId::Root => &mut self.root,
            BranchId::Below(node, at) => &mut self.nodes.at_mut(node).branches[at],
        }
    }

    /// Replaces the bucket `id` by a node with smaller buckets below, so that `topic` can be added.
    fn burst(&mut self, id: BranchId, topic: &[u8]) -> u32 {
        let Branch::Bucket(bucket) = std::mem::take(self.branch_mut(id)) else {
            unreachable!("only buckets burst");
        };
        let common = common_prefix(bucket.label(), topic);
        let at = self.nodes.add(Node::parted(&bucket, common));
        *self.branch_mut(id) = Branch::Node(at);
        at
    }

    /// Splits the node at `at` after `keep` bytes of its label; the remainder goes into a node below.
    fn split(&mut self, at: u32, keep: usize) {
        let mut lower = std::mem::take(self.nodes.at_mut(at));
        let upper = Node { label: lower.label[..keep].into(), ..Node::default() };
        let byte = lower.label[keep];
        lower.label = lower.label[keep + 1..].into();
        let below = self.nodes.add(lower);
        *self.nodes.at_mut(at) = upper;
        self.nodes.at_mut(at).add(byte, Branch::Node(below));
    }

    /// Removes what is no longer needed along the path to a topic that was removed.
    fn tidy(&mut self, path: &[BranchId]) {
        for &id in path.iter().rev() {
            let tidied = match (self.branch(id), id) {
                (Branch::Bucket(bucket), BranchId::Below(parent, at)) if bucket.len() == 0 => {
                    self.nodes.at_mut(parent).remove(at);
                    true
                }
                (Branch::Bucket(_), _) => true,
                (&Branch::Node(at), _) => self.gather(id, at) || self.join(id, at),
            };
            if !tidied {
                return;
            }
        }
    }

    /// Merges a node and the buckets below it into one bucket, if that is a small one: it can at least double
    /// before it bursts again.
    fn gather(&mut self, id: BranchId, at: u32) -> bool {
        let Some(bucket) = self.nodes.at(at).gathered() else {
            return false;
        };
        self.nodes.release(at);
        *self.branch_mut(id) = Branch::Bucket(bucket);
        true
    }

    /// Merges a node without a topic with the only branch below it.
    fn join(&mut self, id: BranchId, at: u32) -> bool {
        let node = self.nodes.at_mut(at);
        if node.subscribed || node.branches.len() > 1 {
            return false;
        }
        let mut upper = self.nodes.release(at);
        let byte = upper.bytes().next().expect("a node has a branch");
        let start = [&upper.label, &[byte][..]].concat();
        let mut branch = upper.remove(0);
        match &mut branch {
            &mut Branch::Node(below) => {
                let lower = self.nodes.at_mut(below);
                lower.label = [&start, &*lower.label].concat().into();
            }
            Branch::Bucket(bucket) => *bucket = bucket.behind(&start),
        }
        *self.branch_mut(id) = branch;
        true
    }
}

impl Branch {
    fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Bucket(bucket) => Some(bucket),
            Self::Node(_) => None,
        }
    }
}

impl Default for Branch {
    fn default() -> Self {
        Self::Bucket(Bucket::default())
    }
}

/// A point where topics part, or where one topic ends that is a prefix of others. Always has a branch.
#[derive(Debug, Default)]
struct Node {
    /// The bytes that all topics here have next.
    label: Box<[u8]>,
    /// Whether a topic ends after the label.
    subscribed: bool,
    /// The bytes that may follow the label, one bit for each.
    set: [u64; 4],
    /// The number of bits of `set` before each of its words.
    ranks: [u8; 4],
    /// One for each bit of `set`, in the same order.
    branches: Box<[Branch]>,
}

impl Node {
    /// A node with the topics of a bucket, parted by the byte after the first `label` bytes.
    fn parted(bucket: &Bucket, label: usize) -> Self {
        let mut node = Self { label: bucket.label()[..label].into(), ..Self::default() };
        let first = |suffix: &Parts<'_>| suffix.iter().copied().flatten().copied().next();
        let mut suffixes: Vec<Parts<'_>> =
            bucket.topics().map(|topic| skip(topic, label)).collect();
        suffixes.sort_by_key(first);
        for same in suffixes.chunk_by(|a, b| first(a) == first(b)) {
            let Some(byte) = first(&same[0]) else {
                node.subscribed = true;
                continue;
            };
            let topics: Vec<Parts<'_>> = same.iter().map(|suffix| skip(*suffix, 1)).collect();
            let bucket = Bucket::new(&topics).expect("a part fits where all did");
            node.add(byte, Branch::Bucket(bucket));
        }
        node
    }

    /// The index of the branch of `byte`.
    fn position(&self, byte: u8) -> Option<usize> {
        let (word, bit) = word_and_bit(byte);
        (self.set[word] & bit != 0).then(|| self.rank(byte))
    }

    /// The number of branches of smaller bytes.
    fn rank(&self, byte: u8) -> usize {
        let (word, bit) = word_and_bit(byte);
        usize::from(self.ranks[word]) + (self.set[word] & (bit - 1)).count_ones() as usize
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(|&byte| self.position(byte).is_some())
    }

    fn add(&mut self, byte: u8, branch: Branch) {
        let at = self.rank(byte);
        self.flip(byte);
        let mut branches = std::mem::take(&mut self.branches).into_vec();
        branches.reserve_exact(1);
        branches.insert(at, branch);
        self.branches = branches.into();
    }

    fn remove(&mut self, at: usize) -> Branch {
        let byte = self.bytes().nth(at).expect("each branch has a byte");
        self.flip(byte);
        let mut branches = std::mem::take(&mut self.branches).into_vec();
        let branch = branches.remove(at);
        self.branches = branches.into();
        branch
    }

    fn flip(&mut self, byte: u8) {
        let (word, bit) = word_and_bit(byte);
        self.set[word] ^= bit;
        for word in 1..4 {
            // 192 at most.
            self.ranks[word] = self.ranks[word - 1] + self.set[word - 1].count_ones() as u8;
        }
    }

    /// One bucket with all topics below, if there are few.
    fn gathered(&self) -> Option<Bucket> {
        let mut count = 0;
        for branch in &self.branches {
            count += branch.bucket()?.len();
            if count > FEW_TOPICS / 2 {
                return None;
            }
        }
        let topics = self.topics();
        let topics: Vec<Parts<'_>> = topics.iter().map(|topic| [&topic[..], &[]]).collect();
        Bucket::new(&topics)
    }

    /// All topics that end here or in the buckets right below.
    fn topics(&self) -> Vec<Vec<u8>> {
        let mut topics = Vec::new();
        if self.subscribed {
            topics.push(self.label.to_vec());
        }
        for (byte, branch) in self.bytes().zip(&self.branches) {
            let start = [&self.label, &[byte][..]].concat();
            let below = branch.bucket().into_iter().flat_map(Bucket::topics);
            topics.extend(below.map(|[label, suffix]| [&start, label, suffix].concat()));
        }
        topics
    }
}

fn word_and_bit(byte: u8) -> (usize, u64) {
    (usize::from(byte / 64), 1 << (byte % 64))
}

/// A few topics in one piece of memory, so that a search among them waits for memory only once.
///
/// ```text
/// | topics: u8 | width: u8 | length of label: u64 | label | marks: u8 | starts: u16 | suffixes |
/// ```
///
/// The label is the longest common prefix of all topics. A mark is a hash of the first `width` bytes of a
/// suffix, where `width` is the length of the shortest suffix, at most [`MOST_WIDTH`]. A start says where a
/// suffix begins among the suffixes. Marks are padded with zeros to whole words, and left out if a suffix is
/// empty, since the label then decides alone.
///
/// A bucket without bytes has no topics.
#[derive(Debug, Default)]
struct Bucket(Box<[u8]>);

/// The parsed bytes of a bucket.
struct View<'a> {
    width: usize,
    label: &'a [u8],
    marks: &'a [[u8; WORD]],
    starts: &'a [[u8; 2]],
    suffixes: &'a [u8],
}

/// A topic in two parts.
type Parts<'a> = [&'a [u8]; 2];

/// Keep at most this many topics in one bucket. With half as many, the hundred topics of two digits do not fit
/// into one, and a random match among a million took 500 ns instead of 300.
const MOST_TOPICS: usize = 128;
/// Keep at most this many bytes of suffixes in one bucket, since each change copies them...
const MOST_BYTES: usize = 4096;
/// ...except for this few topics, each of which would otherwise cost a node.
const FEW_TOPICS: usize = 8;
/// A start is a `u16`.
const LAST_START: usize = u16::MAX as usize;

/// The size of a cache line on most machines.
const LINE: usize = 64;

/// The bytes before the label.
const HEAD: usize = 2 + size_of::<u64>();
/// Marks are searched in words of this many bytes.
const WORD: usize = 8;
/// What is hashed is one word.
const MOST_WIDTH: usize = WORD;

impl Bucket {
    fn of_one(topic: &[u8]) -> Self {
        Self::with_label(&[[topic, &[]]], topic.len()).expect("one topic always fits")
    }

    /// A bucket with these topics, each of which is there only once; `None` if they do not fit.
    fn new(topics: &[Parts<'_>]) -> Option<Self> {
        Self::with_label(topics, common_start(topics))
    }

    /// A bucket whose label is the first `label` bytes, which all topics have in common.
    fn with_label(topics: &[Parts<'_>], label: usize) -> Option<Self> {
        let count = topics.len();
        let suffixes: Vec<Parts<'_>> = topics.iter().map(|topic| skip(*topic, label)).collect();
        let total: usize = suffixes.iter().map(length).sum();
        if !fits(count, total) {
            return None;
        }
        let width = suffixes.iter().map(length).min().unwrap_or_default().min(MOST_WIDTH);
        let suffixes_at = HEAD + label + marks_len(count, width) + 2 * count;
        let mut bytes = Vec::with_capacity(suffixes_at + total);
        bytes.extend([count as u8, width as u8]);
        bytes.extend((label as u64).to_le_bytes());
        bytes.extend(topics.first()?.iter().copied().flatten().take(label));
        if width > 0 {
            bytes.extend(suffixes.iter().map(|suffix| mark(first_word(*suffix), width)));
        }
        bytes.resize(suffixes_at - 2 * count, 0);
        let mut start = 0;
        for suffix in &suffixes {
            bytes.extend((start as u16).to_le_bytes());
            start += length(suffix);
        }
        suffixes.iter().flatten().for_each(|part| bytes.extend_from_slice(part));
        Some(Self(bytes.into()))
    }

    fn view(&self) -> Option<View<'_>> {
        let (&[count, width], rest) = self.0.split_first_chunk()?;
        let (&label, rest) = rest.split_first_chunk()?;
        let (count, width) = (usize::from(count), usize::from(width));
        let (label, rest) = rest.split_at(u64::from_le_bytes(label) as usize);
        let (marks, rest) = rest.split_at(marks_len(count, width));
        let (starts, suffixes) = rest.split_at(2 * count);
        Some(View {
            width,
            label,
            marks: marks.as_chunks().0,
            starts: starts.as_chunks().0,
            suffixes,
        })
    }

    fn matches(&self, body: &[u8]) -> bool {
        self.touch();
        let Some(view) = self.view() else {
            return false;
        };
        let Some(rest) = strip(body, view.label) else {
            return false;
        };
        view.matches(rest)
    }

    /// Requests the first cache lines at once, instead of each when the one before it shows that it is needed.
    fn touch(&self) {
        let bytes = self.0.iter().step_by(LINE).take(16);
        std::hint::black_box(bytes.fold(0, |all, byte| all ^ byte));
    }

    fn len(&self) -> usize {
        self.0.first().copied().map_or(0, usize::from)
    }

    fn label(&self) -> &[u8] {
        self.view().map_or(&[], |view| view.label)
    }

    fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let view = self.view();
        (0..self.len()).filter_map(move |at| Some(view.as_ref()?.suffix(at)))
    }

    fn topics(&self) -> impl Iterator<Item = Parts<'_>> {
        self.suffixes().map(|suffix| [self.label(), suffix])
    }

    fn position(&self, topic: &[u8]) -> Option<usize> {
        let view = self.view()?;
        let suffix = strip(topic, view.label)?;
        if view.width == 0 {
            return self.suffixes().position(|other| other == suffix);
        }
        view.with_mark_of(suffix).find(|&at| view.suffix(at) == suffix)
    }

    /// Adds a topic that is not there; `false` if there is no room.
    fn add(&mut self, topic: &[u8]) -> bool {
        if self.len() == 0 {
            *self = Self::of_one(topic);
            return true;
        }
        let label = common_prefix(self.label(), topic);
        if let Some(grown) = self.appended(label, &topic[label..]) {
            *self = grown;
            return true;
        }
        let topics: Vec<Parts<'_>> = self.topics().chain([[topic, &[]]]).collect();
        let Some(grown) = Self::with_label(&topics, label) else {
            return false;
        };
        *self = grown;
        true
    }

    /// The bucket with one more suffix, if that changes nothing for the others.
    fn appended(&self, label: usize, suffix: &[u8]) -> Option<Self> {
        let view = self.view()?;
        let count = view.starts.len() + 1;
        let total = view.suffixes.len() + suffix.len();
        if label < view.label.len() || suffix.len() < view.width || !fits(count, total) {
            return None;
        }
        let suffixes_at = HEAD + label + marks_len(count, view.width) + 2 * count;
        let mut bytes = Vec::with_capacity(suffixes_at + total);
        bytes.push(count as u8);
        bytes.extend_from_slice(&self.0[1..HEAD + label]);
        if view.width > 0 {
            bytes.extend_from_slice(&view.marks.as_flattened()[..count - 1]);
            bytes.push(mark(first_word([suffix, &[]]), view.width));
        }
        bytes.resize(suffixes_at - 2 * count, 0);
        bytes.extend_from_slice(view.starts.as_flattened());
        bytes.extend_from_slice(&(view.suffixes.len() as u16).to_le_bytes());
        bytes.extend_from_slice(view.suffixes);
        bytes.extend_from_slice(suffix);
        Some(Self(bytes.into()))
    }

    /// Removes a topic; `false` if it is not there.
    fn remove(&mut self, topic: &[u8]) -> bool {
        let Some(at) = self.position(topic) else {
            return false;
        };
        let mut topics: Vec<Parts<'_>> = self.topics().collect();
        topics.swap_remove(at);
        *self = Self::new(&topics).unwrap_or_default();
        true
    }

    /// The bucket with `start` before each topic.
    fn behind(&self, start: &[u8]) -> Self {
        let label = [start, self.label()].concat();
        let topics: Vec<Parts<'_>> = self.suffixes().map(|suffix| [&label[..], suffix]).collect();
        Self::with_label(&topics, label.len()).expect("the label does not count")
    }
}

impl<'a> View<'a> {
    fn matches(&self, rest: &[u8]) -> bool {
        // An empty suffix begins everything.
        self.width == 0 || self.with_mark_of(rest).any(|at| rest.starts_with(self.suffix(at)))
    }

    /// The suffixes that may be a prefix of `rest`, if none is empty.
    fn with_mark_of(&self, rest: &[u8]) -> impl Iterator<Item = usize> {
        let words = if rest.len() < self.width { &[] } else { self.marks };
        let wanted = u64::from_ne_bytes([mark(first_word([rest, &[]]), self.width); WORD]);
        let words = words.iter().map(move |&marks| u64::from_le_bytes(marks) ^ wanted);
        let count = self.starts.len();
        words
            .enumerate()
            .flat_map(|(index, word)| zero_bytes(word).map(move |at| index * WORD + at))
            .take_while(move |&at| at < count)
    }

    fn suffix(&self, at: usize) -> &'a [u8] {
        let start = |at: usize| {
            let start = self.starts.get(at).map(|&start| u16::from_le_bytes(start));
            start.map_or(self.suffixes.len(), usize::from)
        };
        &self.suffixes[start(at)..start(at + 1)]
    }
}

/// Whether a bucket may hold this many topics, whose suffixes have this many bytes together.
fn fits(topics: usize, bytes: usize) -> bool {
    topics <= MOST_TOPICS && bytes <= LAST_START && (topics <= FEW_TOPICS || bytes <= MOST_BYTES)
}

fn marks_len(topics: usize, width: usize) -> usize {
    if width == 0 { 0 } else { topics.next_multiple_of(WORD) }
}

/// Hashes by a product, whose upper bits depend on all bytes. Topics that share a mark cost time, at most
/// that of comparing all topics in the bucket.
fn mark(word: u64, width: usize) -> u8 {
    let word = word & u64::MAX >> (64 - 8 * width);
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// The first bytes, or as many as there are.
fn first_word(topic: Parts<'_>) -> u64 {
    if let Some(&word) = topic[0].first_chunk() {
        return u64::from_le_bytes(word);
    }
    let mut word = [0; WORD];
    word.iter_mut().zip(topic.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

/// The positions of the zero bytes, lowest first; perhaps also some non-zero bytes after the first.
fn zero_bytes(word: u64) -> impl Iterator<Item = usize> {
    let mut found = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    std::iter::from_fn(move || {
        let at = (found != 0).then(|| found.trailing_zeros() as usize / 8);
        found &= found.wrapping_sub(1);
        at
    })
}

fn length(topic: &Parts<'_>) -> usize {
    topic[0].len() + topic[1].len()
}

fn skip([first, second]: Parts<'_>, n: usize) -> Parts<'_> {
    let (here, there) = (n.min(first.len()), n.saturating_sub(first.len()));
    [&first[here..], &second[there..]]
}

/// The number of bytes that all topics have in common.
fn common_start(topics: &[Parts<'_>]) -> usize {
    let Some((first, others)) = topics.split_first() else {
        return 0;
    };
    let common = |other: &Parts<'_>| {
        let start = common_prefix(first[0], other[0]);
        let (a, b) = (skip(*first, start), skip(*other, start));
        let behind = a.into_iter().flatten().zip(b.into_iter().flatten());
        start + behind.take_while(|(a, b)| a == b).count()
    };
    others.iter().map(common).min().unwrap_or_else(|| length(first))
}

/// Strips the label. Most labels are empty, and not worth a call.
fn strip<'a>(body: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    if label.is_empty() { Some(body) } else { body.strip_prefix(label) }
}

/// An array whose elements are named by index. Released slots are reused.
#[derive(Debug, Default)]
struct Arena<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Arena<T> {
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
        u32::try_from(self.slots.len() - 1).expect("there are fewer than four billion nodes")
    }

    /// Gives the slot back, and returns what it held. With the last one the memory goes too.
    fn release(&mut self, at: u32) -> T {
        let thing = std::mem::take(self.at_mut(at));
        self.free.push(at);
        if self.free.len() == self.slots.len() {
            *self = Self { slots: Vec::new(), free: Vec::new() };
        }
        thing
    }

    fn at(&self, at: u32) -> &T {
        &self.slots[at as usize]
    }

    fn at_mut(&mut self, at: u32) -> &mut T {
        &mut self.slots[at as usize]
    }
}

/// The length of the common prefix of `a` and `b`. Fast if one is a prefix of the other.
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
        /// Bytes of memory, with spare room and what an allocator adds.
        fn memory(&self) -> usize {
            let Arena { slots, free } = &self.nodes;
            let arrays = slots.capacity() * size_of::<Node>() + free.capacity() * size_of::<u32>();
            let inside = |node: &Node| {
                let branches = node.branches.len() * size_of::<Branch>();
                let buckets: usize = node.branches.iter().map(bucket).sum();
                allocated(node.label.len()) + allocated(branches) + buckets
            };
            arrays + bucket(&self.root) + slots.iter().map(inside).sum::<usize>()
        }
    }

    fn bucket(branch: &Branch) -> usize {
        branch.bucket().map_or(0, |bucket| allocated(bucket.0.len()))
    }

    /// As glibc does it.
    fn allocated(bytes: usize) -> usize {
        if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
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

    /// At most 96 bytes besides the topic. Random topics fill every kind of node; nested and
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

    #[test]
    fn a_full_bucket_bursts_and_little_is_gathered_again() {
        let all = random_topics(2 * MOST_TOPICS);
        let mut set = Topics::new();
        for (before, topic) in all.iter().enumerate() {
            assert_eq!(set.root.bucket().is_some(), before <= MOST_TOPICS, "{before}");
            assert!(set.insert(topic));
        }
        let (few, most) = all.split_at(FEW_TOPICS / 2);
        most.iter().for_each(|topic| assert!(set.remove(topic)));
        assert_eq!(set.root.bucket().map(Bucket::len), Some(few.len()));
        assert!(few.iter().all(|topic| set.matches(topic)));
        assert!(!most.iter().any(|topic| set.matches(topic)));
    }

    #[test]
    fn long_topics_burst_early() {
        // Neither two of 40,000 bytes fit in one bucket nor more than a few of 1000.
        for (len, count) in [(40_000, 1), (1000, FEW_TOPICS)] {
            let long: Vec<Vec<u8>> =
                (0..20u8).map(|n| [vec![n; 2], vec![7; len]].concat()).collect();
            let mut set = topics([]);
            for (before, topic) in long.iter().enumerate() {
                assert_eq!(set.root.bucket().is_some(), before <= count, "{before}");
                assert!(set.insert(topic) && !set.insert(topic));
            }
            assert!(long.iter().all(|topic| set.matches(topic) && !set.matches(&topic[1..])));
            assert!(long.iter().skip(1).all(|topic| set.remove(topic)));
            assert!(set.matches(&long[0]) && !set.matches(&long[1]));
            assert_eq!(set.root.bucket().map(Bucket::len), Some(1), "{len}");
            assert!(set.remove(&long[0]) && !set.matches(&long[0]));
        }
    }

    #[test]
    fn topics_that_are_gone_take_no_memory_beside_one_that_stays() {
        let many = random_topics(20_000);
        let mut set = topics([&b"stays"[..]]);
        let before = set.memory();
        assert!(many.iter().all(|topic| set.insert(topic)));
        assert!(many.iter().all(|topic| set.remove(topic)) && set.matches(b"stays"));
        assert_eq!(set.memory(), before);
    }

    #[test]
    fn a_node_left_with_one_branch_is_joined_with_it() {
        let behind = |topic: [u8; 32]| [b"common/", &topic[..]].concat();
        let deep: Vec<_> = random_topics(2 * MOST_TOPICS).into_iter().map(behind).collect();
        let mut set = topics(deep.iter().map(|topic| &topic[..]));
        assert!(set.insert(b"common") && set.insert(b"com") && set.insert(b"other"));
        let nodes = |set: &Topics| set.nodes.slots.len() - set.nodes.free.len();
        assert_eq!(nodes(&set), 4);
        assert!(set.remove(b"com") && set.remove(b"other") && set.remove(b"common"));
        assert_eq!(nodes(&set), 1);
        assert!(deep.iter().all(|topic| set.matches(topic)) && !set.matches(b"common/"));
    }

    /// Enough of them for several levels of nodes, and often with the same mark.
    #[test]
    fn a_thousand_topics_that_come_and_go_agree_with_a_list() {
        let word = |n: &[u8; 32]| n[1..][..usize::from(n[0] % 8)].iter().map(|b| b % 3).collect();
        let words: Vec<Vec<u8>> = random_topics(60_000).iter().map(word).collect();
        let (mut set, mut list) = (Topics::new(), BTreeSet::new());
        for (step, word) in words.iter().enumerate() {
            // First they become more, then fewer.
            if step < 20_000 && step % 4 != 0 {
                assert_eq!(set.insert(word), list.insert(word.clone()));
            } else {
                assert_eq!(set.remove(word), list.remove(word));
            }
            let body = &words[words.len() - 1 - step];
            let expected = (0..=body.len()).any(|len| list.contains(&body[..len]));
            assert_eq!(set.matches(body), expected, "{body:?}");
        }
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
