//! What discovery sends and receives: its messages, and the texts that they are on the wire.
//!
//! Owns [`Service`], and the text form of questions and answers. Everything here is a function of bytes. The
//! limits are those of the module's documentation; they hold for what is received, and for what is announced.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::str::FromStr;

/// What every message begins with, and the version that this is.
const PREFIX: &str = "discovery/";
const VERSION: u32 = 1;

/// The length of a question, and of the text of a service, in bytes.
pub(super) const MAX_TEXT: usize = 4096;
/// The length of a name in bytes.
const MAX_NAME: usize = 128;
/// How many addresses a service may have.
const MAX_ADDRESSES: usize = 8;
/// How many pieces of metadata a service may have.
const MAX_METADATA: usize = 32;
/// The length of an answer to a request. What would make it longer is left out.
const MAX_ANSWER: usize = 512 << 10;

/// What a registry asks its services.
pub(super) const WHO: &str = "discovery/1 who";

/// A service as it announces itself: what it is called, where it is, and what else it tells.
///
/// Two services are the same one if they have the same name and the same addresses. `Display` writes the
/// text that goes over the wire, without the version, and `FromStr` reads it:
///
/// ```
/// use sinew::discovery::Service;
///
/// let clock = Service::new("clock", "tcp://10.0.0.7:7001").with_load(3).with("zone", "eu west");
/// assert_eq!(clock.to_string(), "name=clock at=tcp://10.0.0.7:7001 load=3 +zone=eu%20west");
/// assert_eq!(clock.to_string().parse(), Ok(clock));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    name: String,
    addresses: Vec<String>,
    load: u32,
    metadata: BTreeMap<String, String>,
}

impl Service {
    /// A service with a name and one address, without load and metadata.
    ///
    /// A name has 1 to 128 bytes, an address at least 1; neither has spaces or control characters. That and
    /// the other limits are checked where the service is announced.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        let (name, addresses) = (name.into(), vec![address.into()]);
        Self { name, addresses, load: 0, metadata: BTreeMap::new() }
    }

    /// Adds an address. A service has at most 8; who connects takes the nearest, and of those the first.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Sets the load: any number that means more load when it is higher. Default 0.
    #[must_use]
    pub fn with_load(mut self, load: u32) -> Self {
        self.load = load;
        self
    }

    /// Sets a piece of metadata, of which there are at most 32. `host` and `zone` say how near the service is:
    /// see [`Resolver`](super::Resolver).
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The addresses, at least one.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The load.
    pub fn load(&self) -> u32 {
        self.load
    }

    /// The value of a piece of metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All metadata, by key.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn set_load(&mut self, load: u32) {
        self.load = load;
    }

    pub(super) fn set_metadata(&mut self, key: String, value: String) {
        self.metadata.insert(key, value);
    }

    /// What tells it from others.
    pub(super) fn identity(&self) -> Identity {
        (self.name.clone(), self.addresses.clone())
    }

    /// Whether it keeps the limits.
    pub(super) fn check(&self) -> Result<(), WireError> {
        check_word("a name", &self.name)?;
        if self.name.len() > MAX_NAME {
            return Err(WireError::TooMany("bytes in the name", MAX_NAME));
        }
        if self.addresses.is_empty() {
            return Err(WireError::Missing("at"));
        }
        self.addresses.iter().try_for_each(|address| check_word("an address", address))?;
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(WireError::TooMany("addresses", MAX_ADDRESSES));
        }
        if self.metadata.len() > MAX_METADATA {
            return Err(WireError::TooMany("pieces of metadata", MAX_METADATA));
        }
        if self.to_string().len() > MAX_TEXT.saturating_sub(WHO.len()) {
            return Err(WireError::TooMany("bytes", MAX_TEXT));
        }
        Ok(())
    }

    /// What it answers to a survey.
    pub(super) fn to_answer(&self) -> String {
        format!("{PREFIX}{VERSION} {self}")
    }

    /// Reads an answer to a survey.
    pub(super) fn of_answer(bytes: &[u8]) -> Result<Self, WireError> {
        text(bytes, MAX_TEXT)?.parse()
    }
}

/// The name and the addresses of a service.
pub(super) type Identity = (String, Vec<String>);

fn check_word(what: &'static str, word: &str) -> Result<(), WireError> {
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(WireError::Word(what, shown(word)));
    }
    Ok(())
}

impl Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", Encoded(&self.name))?;
        for address in &self.addresses {
            write!(f, " at={}", Encoded(address))?;
        }
        if self.load != 0 {
            write!(f, " load={}", self.load)?;
        }
        for (key, value) in &self.metadata {
            write!(f, " +{}={}", Encoded(key), Encoded(value))?;
        }
        Ok(())
    }
}

impl FromStr for Service {
    type Err = WireError;

    /// Fields may come in any order. Those that this version does not know are passed over.
    fn from_str(text: &str) -> Result<Self, WireError> {
        let mut name = None;
        let mut found = Self::new("", "");
        found.addresses.clear();
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').ok_or_else(|| WireError::Field(shown(word)))?;
            let value = || decoded(value);
            match key {
                "name" if name.is_some() => return Err(WireError::TooMany("names", 1)),
                "name" => name = Some(value()?),
                "at" if found.addresses.len() == MAX_ADDRESSES => {
                    return Err(WireError::TooMany("addresses", MAX_ADDRESSES));
                }
                "at" => found.addresses.push(value()?),
                "load" => {
                    let load = value()?;
                    found.load = load.parse().map_err(|_| WireError::Field(shown(word)))?;
                }
                _ => {
                    let Some(key) = key.strip_prefix('+') else { continue };
                    if found.metadata.len() == MAX_METADATA {
                        return Err(WireError::TooMany("pieces of metadata", MAX_METADATA));
                    }
                    found.metadata.insert(decoded(key)?, value()?);
                }
            }
        }
        found.name = name.ok_or(WireError::Missing("name"))?;
        found.check()?;
        Ok(found)
    }
}

/// A value with everything percent-encoded that would end it, or that is no text.
struct Encoded<'a>(&'a str);

impl Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if char.is_whitespace() || char.is_control() || matches!(char, '%' | '=') {
                let mut buffer = [0; 4];
                for byte in char.encode_utf8(&mut buffer).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            } else {
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Result<String, WireError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        let byte = if *first == b'%' {
            let bad = || WireError::Field(shown(text));
            let [high, low, more @ ..] = rest else { return Err(bad()) };
            rest = more;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(*high).zip(digit(*low));
            let value = value.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            value.ok_or_else(bad)?
        } else {
            *first
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| WireError::NotText)
}

/// Takes the version off a message of at most `most` bytes.
fn text(bytes: &[u8], most: usize) -> Result<&str, WireError> {
    if bytes.len() > most {
        return Err(WireError::TooMany("bytes", most));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| WireError::NotText)?;
    let foreign = || WireError::Foreign(shown(text));
    let rest = text.strip_prefix(PREFIX).ok_or_else(foreign)?;
    let (version, rest) = rest.split_once([' ', '\n']).unwrap_or((rest, ""));
    match version.parse::<u32>().map_err(|_| foreign())? {
        VERSION => Ok(rest),
        version => Err(WireError::Version(version)),
    }
}

/// What a registry is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inquiry {
    /// The live services of this name.
    Resolve(String),
    /// All live services.
    List,
}

impl Inquiry {
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Resolve(name) => format!("{PREFIX}{VERSION} resolve name={}", Encoded(name)),
            Self::List => format!("{PREFIX}{VERSION} list"),
        }
    }

    pub(super) fn of(bytes: &[u8]) -> Result<Self, WireError> {
        let mut words = text(bytes, MAX_TEXT)?.split_ascii_whitespace();
        match words.next() {
            Some("list") => Ok(Self::List),
            Some("resolve") => {
                let name = words.find_map(|word| word.strip_prefix("name="));
                decoded(name.ok_or(WireError::Missing("name"))?).map(Self::Resolve)
            }
            word => Err(WireError::Request(shown(word.unwrap_or_default()))),
        }
    }
}

/// What a registry knows about what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The number of the survey that is under way, or was last.
    pub(super) survey: u64,
    /// How many services there are; more than are in the answer if it would be too long.
    pub(super) total: usize,
    pub(super) services: Vec<Service>,
}

impl Answer {
    pub(super) fn to_text<'s>(
        survey: u64,
        services: impl ExactSizeIterator<Item = &'s Service>,
    ) -> String {
        let mut text = format!("{PREFIX}{VERSION} ok survey={survey} total={}", services.len());
        for service in services {
            let end = text.len();
            let _ = write!(text, "\n{service}");
            if text.len() > MAX_ANSWER {
                text.truncate(end);
                break;
            }
        }
        text
    }

    pub(super) fn refusal(error: &WireError) -> String {
        format!("{PREFIX}{VERSION} error why={}", Encoded(&error.to_string()))
    }

    pub(super) fn of(bytes: &[u8]) -> Result<Self, WireError> {
        let text = text(bytes, MAX_ANSWER)?;
        let (head, services) = text.split_once('\n').unwrap_or((text, ""));
        let mut words = head.split_ascii_whitespace();
        match words.next() {
            Some("ok") => {}
            Some("error") => {
                let why = words.find_map(|word| word.strip_prefix("why="));
                let why = why.map(decoded).transpose()?.unwrap_or_default();
                return Err(WireError::Refused(shown(&why)));
            }
            word => return Err(WireError::Field(shown(word.unwrap_or_default()))),
        }
        let (mut survey, mut total) = (0, 0);
        for word in words {
            let number = |value: &str| value.parse().map_err(|_| WireError::Field(shown(word)));
            match word.split_once('=') {
                Some(("survey", value)) => survey = number(value)?,
                Some(("total", value)) => total = number(value)?,
                _ => {}
            }
        }
        let services = services.lines().map(str::parse).collect::<Result<Vec<Service>, _>>()?;
        let total = usize::try_from(total).unwrap_or(usize::MAX).max(services.len());
        Ok(Self { survey, total, services })
    }
}

/// The beginning of a text, for an error to show.
fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A message is not one of discovery, or a service keeps a limit not.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes are not UTF-8.
    #[error("it is not text")]
    NotText,
    /// The message does not begin as those of discovery do. It is inside, cut short.
    #[error("{0:?} is no message of discovery")]
    Foreign(String),
    /// The message is of a version that this one cannot read.
    #[error("it is of version {0}; this is version {VERSION}")]
    Version(u32),
    /// A field is not `KEY=VALUE`, or its value makes no sense. It is inside, cut short.
    #[error("the field {0:?} makes no sense")]
    Field(String),
    /// There is no field with this key.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// A name or an address is empty, or has spaces or control characters. It is inside, cut short.
    #[error("{0} cannot be {1:?}")]
    Word(&'static str, String),
    /// There is more of something than there may be.
    #[error("there are more than {1} {0}")]
    TooMany(&'static str, usize),
    /// A registry was asked what it does not know. The word is inside, cut short.
    #[error("{0:?} is no request: they are \"resolve name=NAME\" and \"list\"")]
    Request(String),
    /// A registry has refused a request, for this reason.
    #[error("the registry has refused the request: {0}")]
    Refused(String),
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// What is read is written the same way, and nothing panics, whatever the bytes are.
#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) fn fuzz(data: &[u8]) {
    let [kind, bytes @ ..] = data else { return };
    match kind % 3 {
        0 => match Service::of_answer(bytes) {
            Ok(service) => {
                let text = service.to_answer();
                assert_eq!(Service::of_answer(text.as_bytes()), Ok(service));
            }
            Err(error) => assert!(error.to_string().len() < 1024),
        },
        1 => match Inquiry::of(bytes) {
            Ok(inquiry) => assert_eq!(Inquiry::of(inquiry.to_text().as_bytes()), Ok(inquiry)),
            Err(error) => {
                let refusal = Answer::of(Answer::refusal(&error).as_bytes());
                assert!(matches!(refusal, Err(WireError::Refused(_))));
            }
        },
        _ => {
            if let Ok(answer) = Answer::of(bytes) {
                let text = Answer::to_text(answer.survey, answer.services.iter());
                let again = Answer::of(text.as_bytes()).expect("it was written here");
                assert_eq!(again.services, answer.services);
                assert!(answer.total >= answer.services.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Service {
        Service::new("clock", "tcp://10.0.0.7:7001")
            .with_address("ipc:///tmp/clock")
            .with_load(7)
            .with("zone", "eu = west\n100 %")
            .with("größe", "")
    }

    #[test]
    fn what_is_announced_is_read_as_it_was() {
        for service in [Service::new("a", "b"), full()] {
            assert_eq!(Service::of_answer(service.to_answer().as_bytes()), Ok(service));
        }
        assert_eq!(full().metadata("zone"), Some("eu = west\n100 %"));
    }

    #[test]
    fn fields_come_in_any_order_and_unknown_ones_are_passed_over() {
        let text = "discovery/1  at=tcp://b:1 color=red name=a\n";
        assert_eq!(Service::of_answer(text.as_bytes()), Ok(Service::new("a", "tcp://b:1")));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let refused = |text: &str| Service::of_answer(text.as_bytes()).unwrap_err();
        assert_eq!(refused("parrot tcp://b"), WireError::Foreign("parrot tcp://b".to_owned()));
        assert_eq!(refused("discovery/2 name=a at=b"), WireError::Version(2));
        assert_eq!(refused("discovery/1 name=a"), WireError::Missing("at"));
        assert_eq!(refused("discovery/1 at=a"), WireError::Missing("name"));
        assert_eq!(refused("discovery/1 name=a at=b c"), WireError::Field("c".to_owned()));
        assert_eq!(refused("discovery/1 name=a at=%2"), WireError::Field("%2".to_owned()));
        assert_eq!(refused("discovery/1 name=a at=%ff"), WireError::NotText);
        assert_eq!(refused("discovery/1 name=a name=b at=c"), WireError::TooMany("names", 1));
        assert_eq!(
            refused("discovery/1 name=a at=b load=-1"),
            WireError::Field("load=-1".to_owned())
        );
        let blank = WireError::Word("a name", "a b".to_owned());
        assert_eq!(refused("discovery/1 name=a%20b at=c"), blank);
        assert_eq!(Service::of_answer(&[0xFF]), Err(WireError::NotText));
        assert_eq!(
            Service::of_answer(&[b' '; MAX_TEXT + 1]),
            Err(WireError::TooMany("bytes", MAX_TEXT))
        );
    }

    #[test]
    fn the_limits_hold_for_what_is_announced_as_for_what_is_heard() {
        let crowded = (0..9).fold(Service::new("a", "b"), |it, n| it.with_address(n.to_string()));
        let talkative = (0..33).fold(Service::new("a", "b"), |it, n| it.with(n.to_string(), ""));
        let long = Service::new("a", "b").with("text", "x".repeat(MAX_TEXT));
        for service in [crowded, talkative, long, Service::new("a".repeat(129), "b")] {
            assert!(matches!(service.check(), Err(WireError::TooMany(..))), "{service}");
            assert!(Service::of_answer(service.to_answer().as_bytes()).is_err());
        }
    }

    #[test]
    fn an_answer_that_would_be_too_long_says_how_many_there_are() {
        let service = Service::new("a", "b").with("text", "x".repeat(4000));
        let all = vec![service; 200];
        let answer = Answer::of(Answer::to_text(3, all.iter()).as_bytes()).unwrap();
        assert_eq!((answer.survey, answer.total), (3, 200));
        assert_eq!(answer.services.len(), MAX_ANSWER / 4015);
    }
}
