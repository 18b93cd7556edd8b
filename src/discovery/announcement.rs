//! The announcement: a RESPONDENT that says "I am here".

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::fmt;

use super::environment::{self, Lookup};
use super::wire::{MAX_TEXT, Service};
use super::{SURVEYS_HERE, StartError};
use crate::api::Respondent;
use crate::message::Message;
use crate::options::Options;
use crate::pipe::endpoint::Endpoint;
use crate::sync::{Arc, Mutex, Rank};
use crate::threads;

/// Announces a service to all registries, until it is dropped.
///
/// It connects to each registry, in the background and for as long as it takes, and answers its surveys. There
/// is nothing to sign off: a service that ends is not heard any more. It tells the name of the host as the
/// metadata `host`, unless the service has that.
///
/// A handle: cloning it makes another of the same announcement, and dropping the last one ends it. A thread
/// works for it.
///
/// ```
/// use sinew::discovery::{Announcement, Service};
///
/// let rep = sinew::Rep::new();
/// let endpoint = rep.bind("tcp://127.0.0.1:0")?;
/// let service = Service::new("clock", endpoint.url()).with("zone", "eu");
/// let announcement = Announcement::new(service, ["tcp://10.0.0.1:7701", "tcp://10.0.0.2:7701"])?;
/// announcement.set_load(3); // told with the next survey
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Announcement {
    inner: Arc<Inner>,
}

/// What the handles share.
struct Inner {
    respondent: Respondent,
    told: Arc<Mutex<ServiceAnswer>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever has closed it before has had a reason to.
        let _ = self.respondent.close();
    }
}

/// The service, and the answer that tells it.
struct ServiceAnswer {
    service: Service,
    answer: Message,
}

impl Announcement {
    /// Announces a service to the registries that survey at these addresses.
    ///
    /// # Errors
    ///
    /// The service keeps a limit not, an address makes no sense, or the system has no thread left.
    pub fn new<U: AsRef<str>>(
        service: Service,
        registries: impl IntoIterator<Item = U>,
    ) -> Result<Self, StartError> {
        let mut service = service;
        if service.metadata("host").is_none()
            && let Some(host) = environment::host()
        {
            service.set_metadata("host".to_owned(), host);
        }
        service.check().map_err(StartError::Service)?;
        let respondent = Respondent::with_options(Options::new().max_recv_size(MAX_TEXT))
            .map_err(StartError::Options)?;
        let answer = Message::from(service.to_answer());
        let told = Arc::new(Mutex::new(Rank::Registry, ServiceAnswer { service, answer }));
        for url in registries {
            let url = url.as_ref();
            respondent.connect(url).map_err(|error| StartError::Connect(url.to_owned(), error))?;
        }
        let (asked, answers) = (respondent.clone(), Arc::clone(&told));
        let inner = Arc::new(Inner { respondent, told });
        let keep_answering = move || {
            while let Ok(question) = asked.recv() {
                let answer = answers.lock().answer.clone();
                // It fails when the socket is closed, which ends the loop.
                let _ = question.reply(answer);
            }
        };
        threads::spawn("sinew-announce", keep_answering).map_err(StartError::Thread)?;
        Ok(Self { inner })
    }

    /// Announces what is bound at `bound` as the environment says: its name is `SINEW_NAME`, or else `name`;
    /// its addresses are `SINEW_ADVERTISE`, or else where it is bound, with the name of the host in the place of
    /// a wildcard; the registries are `SINEW_SURVEY_URL`, or else `tcp://127.0.0.1:7701`. Several addresses
    /// have commas between them. `SINEW_ZONE` is the metadata `zone`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or a variable has a value that makes no sense.
    pub fn from_environment(name: &str, bound: &Endpoint) -> Result<Self, StartError> {
        let (service, registries) = described(name, &bound.url(), &environment::process)?;
        Self::new(service, registries)
    }

    /// The service, as it is told now.
    pub fn service(&self) -> Service {
        self.inner.told.lock().service.clone()
    }

    /// Sets the load that is told from the next survey on.
    pub fn set_load(&self, load: u32) {
        let told = &mut *self.inner.told.lock();
        told.service.set_load(load);
        told.answer = told.service.to_answer().into();
    }

    /// Sets a piece of metadata that is told from the next survey on.
    ///
    /// # Errors
    ///
    /// [`StartError::Service`]: the service would keep a limit not any more, and nothing changes.
    pub fn set_metadata(
        &self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), StartError> {
        let told = &mut *self.inner.told.lock();
        let mut service = told.service.clone();
        service.set_metadata(key.into(), value.into());
        service.check().map_err(StartError::Service)?;
        told.answer = service.to_answer().into();
        told.service = service;
        Ok(())
    }

    /// The socket that answers, to be inspected: which registries are connected.
    pub fn respondent(&self) -> &Respondent {
        &self.inner.respondent
    }

    /// Ends the announcement for all its handles. Dropping the last one does the same. Does nothing if it has
    /// ended.
    pub fn close(&self) {
        let _ = self.inner.respondent.close();
    }
}

/// The service and the registries that the environment names.
fn described(
    name: &str,
    bound: &str,
    lookup: Lookup<'_>,
) -> Result<(Service, Vec<String>), StartError> {
    let name = lookup(environment::NAME).unwrap_or_else(|| name.to_owned());
    let addresses = environment::list(lookup, environment::ADVERTISE)?;
    let addresses = addresses.unwrap_or_else(|| vec![environment::reachable(bound)]);
    let mut addresses = addresses.into_iter();
    let mut service = Service::new(name, addresses.next().unwrap_or_default());
    for address in addresses {
        service = service.with_address(address);
    }
    if let Some(zone) = lookup(environment::ZONE) {
        service = service.with("zone", zone);
    }
    let registries = environment::list(lookup, environment::SURVEY_URL)?;
    Ok((service, registries.unwrap_or_else(|| vec![SURVEYS_HERE.to_owned()])))
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.inner.told.lock();
        f.debug_tuple("Announcement").field(&told.service).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_says_by_its_environment_what_is_announced_to_whom() {
        let lookup = |name: &str| match name {
            "SINEW_ADVERTISE" => Some("tcp://a:1,ipc:///b".to_owned()),
            "SINEW_ZONE" => Some("eu".to_owned()),
            _ => None,
        };
        let (service, registries) = described("clock", "tcp://0.0.0.0:9", &lookup).unwrap();
        let expected =
            Service::new("clock", "tcp://a:1").with_address("ipc:///b").with("zone", "eu");
        assert_eq!((service, registries), (expected, vec!["tcp://127.0.0.1:7701".to_owned()]));
        let (service, _) = described("clock", "tcp://127.0.0.1:9", &|_| None).unwrap();
        assert_eq!(service, Service::new("clock", "tcp://127.0.0.1:9"));
    }
}
