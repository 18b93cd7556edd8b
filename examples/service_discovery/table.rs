//! The daemon's list of live services, as plain data: no sockets, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

/// How many surveys in a row a service may leave unanswered before it is taken off the list. With
/// one, a single late answer would make a healthy service come and go.
pub(crate) const PATIENCE: u64 = 2;

/// One provider of a service, as it answers a survey: `NAME ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Service {
    /// What it provides.
    pub(crate) name: String,
    /// The address of its REP socket.
    pub(crate) address: String,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic());
        match text.split_once(' ') {
            Some((name, address)) if word(name) && word(address) => {
                Ok(Self { name: name.to_owned(), address: address.to_owned() })
            }
            _ => Err(format!("{text:?} is not of the form NAME ADDRESS")),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.address)
    }
}

/// The live services, each with the number of the survey it answered last.
#[derive(Debug, Default)]
pub(crate) struct Table {
    survey: u64,
    services: BTreeMap<Service, u64>,
}

impl Table {
    /// Begins the next survey and returns its number; the first is 1.
    pub(crate) fn begin_survey(&mut self) -> u64 {
        self.survey += 1;
        self.survey
    }

    /// Notes an answer to the survey that is open. True: the service was not on the list.
    pub(crate) fn answered(&mut self, service: Service) -> bool {
        self.services.insert(service, self.survey).is_none()
    }

    /// Ends the survey that is open: takes off the list, and returns, the services that have left
    /// [`PATIENCE`] surveys unanswered.
    pub(crate) fn end_survey(&mut self) -> Vec<Service> {
        let (survey, all) = (self.survey, std::mem::take(&mut self.services));
        let (live, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, answered)| survey - answered < PATIENCE);
        self.services = live;
        gone.into_keys().collect()
    }

    /// The number of the survey that is open, or was last.
    pub(crate) fn survey(&self) -> u64 {
        self.survey
    }

    /// The services on the list, by name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.keys()
    }

    /// One provider of `name`, chosen at random.
    pub(crate) fn resolve(&self, name: &str) -> Option<&Service> {
        let providers: Vec<_> = self.services().filter(|service| service.name == name).collect();
        let count = u64::try_from(providers.len()).ok()?;
        let chosen = random().checked_rem(count)?;
        providers.get(usize::try_from(chosen).ok()?).copied()
    }
}

/// A number that nobody can foresee: what the standard library has of randomness.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
