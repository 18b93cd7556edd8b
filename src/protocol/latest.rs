//! Queues in which a newer message replaces an older one with the same key.
//!
//! Owns [`Latest`]: an ordinary queue, until a key is set. It knows nothing of pipes: the caller counts the
//! messages that were replaced.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::body::Body;
use crate::message::Message;
use crate::options::Conflate;

/// A message with a body that may contain a key.
pub(super) trait Keyed {
    fn body(&self) -> &Bytes;
}

impl Keyed for Message {
    fn body(&self) -> &Bytes {
        self.body()
    }
}

impl Keyed for Body {
    fn body(&self) -> &Bytes {
        self
    }
}

/// A queue of messages. With keys, it has at most one message of each, the newest.
///
/// A new message has the position of the one it replaces: a key that changes often neither delays others nor is
/// delayed by them.
#[derive(Debug)]
pub(super) struct Latest<T> {
    /// Dropped before the messages: a key is a part of its message and must not outlive it.
    places: Option<Box<Places>>,
    queue: VecDeque<T>,
    /// The bytes of all bodies.
    bytes: usize,
}

/// The position of the message of each key.
#[derive(Debug)]
struct Places {
    by: Conflate,
    /// Positions are counted from the first message ever. A key is a slice of its message, and so takes no
    /// memory of its own. Peers choose the keys, so they are hashed with a secret.
    by_key: HashMap<Bytes, u64>,
    /// The position of the front.
    front: u64,
}

impl<T: Keyed> Latest<T> {
    /// Makes an empty queue, which takes no memory yet.
    pub(super) fn new(by: Option<Conflate>) -> Self {
        let mut latest = Self { places: None, queue: VecDeque::new(), bytes: 0 };
        latest.set_key(by, |_| ());
        latest
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The bytes of all bodies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.queue.front()
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.queue.back()
    }

    /// Adds a message. Replaces and returns the one with its key, if there is one; otherwise adds at the end.
    pub(super) fn push(&mut self, message: T) -> Option<T> {
        self.bytes += message.body().len();
        let Some(places) = &mut self.places else {
            self.queue.push_back(message);
            return None;
        };
        let key = places.by.key(message.body());
        // Removes the old key first: the key must be a slice of the new message.
        let known = places.by_key.remove(&key);
        let place = known.unwrap_or(places.front + self.queue.len() as u64);
        places.by_key.insert(key, place);
        let Some(known) = known.and_then(|known| usize::try_from(known - places.front).ok()) else {
            self.queue.push_back(message);
            return None;
        };
        let replaced = std::mem::replace(&mut self.queue[known], message);
        self.bytes -= replaced.body().len();
        Some(replaced)
    }

    /// Adds a message at the front. Only without keys.
    pub(super) fn push_front(&mut self, message: T) {
        debug_assert!(self.places.is_none());
        self.bytes += message.body().len();
        self.queue.push_front(message);
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.body().len();
        if let Some(places) = &mut self.places {
            places.front += 1;
            places.by_key.remove(&places.by.key(message.body()));
        }
        Some(message)
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        let message = self.queue.pop_back()?;
        self.bytes -= message.body().len();
        if let Some(places) = &mut self.places {
            places.by_key.remove(&places.by.key(message.body()));
        }
        Some(message)
    }

    /// Keeps only the messages for which `keep` returns `true`.
    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let by = self.places.take().map(|places| places.by);
        self.queue.retain(keep);
        self.rebuild(by, |_| ());
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<'_, T> {
        self.bytes = 0;
        if let Some(places) = &mut self.places {
            places.by_key.clear();
        }
        self.queue.drain(..)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.queue.iter()
    }

    /// Changes the key, or removes it. Gives the messages that this replaces to `replaced`.
    pub(super) fn set_key(&mut self, by: Option<Conflate>, replaced: impl FnMut(T)) {
        if self.places.as_ref().map(|places| places.by) != by {
            self.rebuild(by, replaced);
        }
    }

    fn rebuild(&mut self, by: Option<Conflate>, replaced: impl FnMut(T)) {
        let places = |by| Box::new(Places { by, by_key: HashMap::new(), front: 0 });
        self.places = by.map(places);
        self.bytes = 0;
        let all = std::mem::take(&mut self.queue);
        all.into_iter().filter_map(|message| self.push(message)).for_each(replaced);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(by: Option<Conflate>, texts: &[&'static str]) -> (Latest<Body>, Vec<Bytes>) {
        let mut queue = Latest::new(by);
        let bodies = texts.iter().map(|text| body(text));
        let replaced = bodies.filter_map(|body| queue.push(body)).map(Body::into_bytes).collect();
        (queue, replaced)
    }

    fn body(text: &'static str) -> Body {
        Bytes::from_static(text.as_bytes()).into()
    }

    fn rest(mut queue: Latest<Body>) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.pop_front()).map(Body::into_bytes).collect()
    }

    const PRICES: [&str; 5] = ["a 1", "b 1", "a 2", "c", "a 3"];

    #[test]
    fn without_keys_it_is_a_queue() {
        let (queue, replaced) = queue(None, &PRICES);
        assert_eq!((rest(queue), replaced), (PRICES.map(Bytes::from).to_vec(), vec![]));
    }

    #[test]
    fn a_key_is_a_beginning_of_some_length_or_up_to_some_byte() {
        let body = Bytes::from_static(b"price.gold 7");
        for (by, key) in [
            (Conflate::Prefix(0), ""),
            (Conflate::Prefix(5), "price"),
            (Conflate::Prefix(100), "price.gold 7"),
            (Conflate::Until(b' '), "price.gold"),
            (Conflate::Until(b'p'), ""),
            (Conflate::Until(0), "price.gold 7"),
        ] {
            assert_eq!(by.key(&body), key, "{by:?}");
        }
    }

    #[test]
    fn a_newer_message_has_the_place_of_the_older() {
        let (queue, replaced) = queue(Some(Conflate::Until(b' ')), &PRICES);
        assert_eq!(rest(queue), ["a 3", "b 1", "c"]);
        assert_eq!(replaced, ["a 1", "a 2"]);
    }

    #[test]
    fn one_key_for_all_leaves_the_newest() {
        let (queue, _) = queue(Some(Conflate::Prefix(0)), &PRICES);
        assert_eq!((queue.bytes(), rest(queue)), (3, vec![Bytes::from("a 3")]));
    }

    #[test]
    fn what_has_gone_has_no_place() {
        let (mut queue, _) = queue(Some(Conflate::Prefix(1)), &["a1", "b1", "c1", "d1"]);
        assert_eq!(queue.pop_front(), Some(body("a1")));
        assert_eq!(queue.pop_back(), Some(body("d1")));
        queue.retain(|other| *other != body("b1"));
        for text in ["d2", "a2", "b2", "c2"] {
            let replaced = queue.push(body(text));
            assert_eq!(replaced.is_some(), text == "c2");
        }
        assert_eq!(rest(queue), ["c2", "d2", "a2", "b2"]);
    }

    /// A key must not keep the memory of a message that has been replaced.
    #[test]
    fn a_key_is_a_part_of_the_message_that_has_it() {
        let (mut queue, _) = queue(Some(Conflate::Prefix(1)), &[]);
        let old = Bytes::from(b"a old".to_vec());
        queue.push(old.clone().into());
        drop(queue.push(Bytes::from(b"a new".to_vec()).into()));
        assert!(old.is_unique());
    }

    #[test]
    fn other_keys_take_effect_on_what_is_there() {
        let (mut queue, mut gone) = (queue(None, &PRICES).0, Vec::new());
        queue.set_key(Some(Conflate::Prefix(1)), |body| gone.push(body));
        assert_eq!((gone.len(), queue.len(), queue.bytes()), (2, 3, 7));
        queue.set_key(Some(Conflate::Prefix(0)), |body| gone.push(body));
        queue.set_key(None, |body| gone.push(body));
        queue.push(body("c"));
        assert_eq!((gone.len(), rest(queue)), (4, vec![Bytes::from("c"), Bytes::from("c")]));
    }

    proptest::proptest! {
        /// As a list that is searched.
        #[test]
        fn it_is_as_a_list_that_is_searched(steps in proptest::collection::vec(0..40u8, 0..80)) {
            let mut queue = Latest::new(Some(Conflate::Prefix(1)));
            let mut list: Vec<Body> = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    0..5 => proptest::prop_assert_eq!(queue.pop_front(), (!list.is_empty()).then(|| list.remove(0))),
                    5..8 => proptest::prop_assert_eq!(queue.pop_back(), list.pop()),
                    8 => {
                        queue.retain(|body| body[0] % 2 == 0);
                        list.retain(|body| body[0] % 2 == 0);
                    }
                    key => {
                        let body = Body::from(Bytes::from(vec![key % 8, n as u8]));
                        let known = list.iter_mut().find(|other| other[0] == body[0]);
                        let replaced = known.map(|other| std::mem::replace(other, body.clone()));
                        if replaced.is_none() {
                            list.push(body.clone());
                        }
                        proptest::prop_assert_eq!(queue.push(body), replaced);
                    }
                }
                let bytes: usize = list.iter().map(|body| body.len()).sum();
                proptest::prop_assert_eq!((queue.len(), queue.bytes()), (list.len(), bytes));
            }
            proptest::prop_assert_eq!(queue.iter().cloned().collect::<Vec<Body>>(), list);
        }
    }
}
