//! The messages of last values. Everything here is a function of bytes.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

/// What a beacon begins with: no topic may.
pub(super) const BEACON: &[u8] = &[1];
/// The version of requests and answers.
const VERSION: u8 = 1;
/// How many prefixes a request may have.
pub(super) const MAX_PREFIXES: usize = 64;
/// The length of a request.
const MAX_REQUEST: usize = 64 << 10;
/// The length of an answer's updates, but for a single one that is longer.
const MAX_ANSWER: usize = 512 << 10;

/// Takes a number off.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

/// What stands between the topic and the value of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) number: u64,
    /// The number of the update before of the same topic, or 0.
    pub(super) before: u64,
}

/// A published message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    Update { topic: &'a str, place: Place, value: &'a [u8] },
    Beacon { epoch: u64, last: u64 },
}

impl<'a> Heard<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut parts = bytes.splitn(2, |byte| *byte == 0);
        let (topic, mut rest) = (parts.next()?, parts.next()?);
        let epoch = number(&mut rest)?;
        if topic == BEACON {
            return Some(Self::Beacon { epoch, last: number(&mut rest)? });
        }
        let place = Place { epoch, number: number(&mut rest)?, before: number(&mut rest)? };
        Some(Self::Update { topic: std::str::from_utf8(topic).ok()?, place, value: rest })
    }
}

/// What an update begins with.
pub(super) fn before_value(topic: &str, place: Place) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(topic.len().saturating_add(25));
    bytes.extend_from_slice(topic.as_bytes());
    bytes.push(0);
    for number in [place.epoch, place.number, place.before] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

pub(super) fn beacon(epoch: u64, last: u64) -> Vec<u8> {
    [BEACON, &[0], &epoch.to_be_bytes(), &last.to_be_bytes()].concat()
}

/// What a cache asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CatchUp<'a> {
    pub(super) epoch: u64,
    pub(super) since: u64,
    pub(super) prefixes: Vec<&'a [u8]>,
}

impl<'a> CatchUp<'a> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.since.to_be_bytes());
        for prefix in &self.prefixes {
            let Ok(length) = u16::try_from(prefix.len()) else { continue };
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(prefix);
        }
        bytes
    }

    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        if version != VERSION || bytes.len() > MAX_REQUEST {
            return None;
        }
        let (epoch, since) = (number(&mut rest)?, number(&mut rest)?);
        let mut prefixes = Vec::new();
        while !rest.is_empty() {
            let (length, more) = rest.split_first_chunk::<2>()?;
            let (prefix, more) = more.split_at_checked(u16::from_be_bytes(*length).into())?;
            if prefixes.len() == MAX_PREFIXES {
                return None;
            }
            prefixes.push(prefix);
            rest = more;
        }
        Some(Self { epoch, since, prefixes })
    }
}

/// What a source answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) epoch: u64,
    /// All changes up to this number that the cache has asked for are told.
    pub(super) told: u64,
    pub(super) has_more: bool,
    pub(super) updates: Vec<&'a [u8]>,
}

impl<'a> Answer<'a> {
    /// Writes an answer with these updates and their numbers, as many as there is room for.
    pub(super) fn write<'u>(
        epoch: u64,
        last: u64,
        updates: impl Iterator<Item = (u64, &'u [u8])>,
    ) -> Vec<u8> {
        let (mut bytes, mut told, mut more) = (Vec::new(), last, 0);
        let mut end = 0;
        for (number, update) in updates {
            if !bytes.is_empty() && update.len().saturating_add(bytes.len()) > MAX_ANSWER {
                (told, more) = (end, 1);
                break;
            }
            let Ok(length) = u32::try_from(update.len()) else { continue };
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(update);
            end = number;
        }
        [&[VERSION], &epoch.to_be_bytes()[..], &told.to_be_bytes(), &[more], &bytes].concat()
    }

    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        if version != VERSION {
            return None;
        }
        let (epoch, told) = (number(&mut rest)?, number(&mut rest)?);
        let (&more, mut rest) = rest.split_first()?;
        let mut updates = Vec::new();
        while !rest.is_empty() {
            let (length, more) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (update, more) = more.split_at_checked(length)?;
            updates.push(update);
            rest = more;
        }
        Some(Self { epoch, told, has_more: more != 0, updates })
    }
}

/// What is read is written the same way, and nothing panics, whatever the bytes are.
#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) fn fuzz(data: &[u8]) {
    let [kind, bytes @ ..] = data else { return };
    match kind % 3 {
        0 => match Heard::of(bytes) {
            Some(Heard::Update { topic, place, value }) => {
                let again = [&before_value(topic, place), value].concat();
                assert_eq!(again, bytes);
            }
            Some(Heard::Beacon { epoch, last }) => assert!(bytes.starts_with(&beacon(epoch, last))),
            None => {}
        },
        1 => {
            if let Some(request) = CatchUp::of(bytes) {
                assert_eq!(request.to_bytes(), bytes);
            }
        }
        _ => {
            if let Some(answer) = Answer::of(bytes) {
                let updates = answer.updates.iter().map(|update| (answer.told, *update));
                let again = Answer::write(answer.epoch, answer.told, updates);
                assert_eq!(again.get(18..), bytes.get(18..));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_room_says_up_to_where_it_tells() {
        let long = vec![7; MAX_ANSWER / 2 - 8];
        let updates = || [(3, &*long), (5, &long), (9, &long)].into_iter();
        let bytes = Answer::write(1, 9, updates());
        let answer = Answer::of(&bytes).unwrap();
        assert_eq!((answer.told, answer.has_more, answer.updates.len()), (5, true, 2));
        let bytes = Answer::write(1, 9, updates().skip(1));
        let answer = Answer::of(&bytes).unwrap();
        assert_eq!((answer.told, answer.has_more, answer.updates.len()), (9, false, 2));
        // One that is too long alone is told alone.
        let longer = vec![7; MAX_ANSWER + 1];
        let bytes = Answer::write(1, 9, [(3, &*longer), (5, &long)].into_iter());
        let answer = Answer::of(&bytes).unwrap();
        assert_eq!((answer.told, answer.has_more, answer.updates.len()), (3, true, 1));
    }
}
