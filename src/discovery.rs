//! Discovery: services that come and go, found by their names. Only with the feature `discovery`.
//!
//! A [`Registry`] keeps the list of live services by asking, again and again, who is there. An [`Announcement`]
//! answers for a service, until it is dropped. A [`Resolver`] asks the registries, and gives sockets that stay
//! connected to all live services of a name. Nobody is configured with the address of a service, and nothing is
//! stored: a registry that was restarted knows all services after one survey, and several registries stand side
//! by side.
//!
//! ```
//! use sinew::discovery::{Announcement, Registry, Resolver, Service};
//!
//! let registry = Registry::builder().surveys("tcp://127.0.0.1:0").requests("tcp://127.0.0.1:0").start()?;
//!
//! let rep = sinew::Rep::new();
//! let clock = Service::new("clock", rep.bind("tcp://127.0.0.1:0")?.url());
//! let _announcement = Announcement::new(clock, registry.survey_urls())?;
//! std::thread::spawn(move || rep.recv().unwrap().reply("noon"));
//!
//! let resolver = Resolver::new(registry.request_urls())?;
//! let req = resolver.req("clock")?; // stays connected to all clocks there are
//! assert_eq!(req.request("what time is it?")?, "noon");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The cookbook has [a chapter](crate::cookbook::service_discovery) on it, and `examples/service_discovery` plays
//! a scene with several processes.
//!
//! # When a service is alive
//!
//! A service is on the list of a registry from the first survey that it answers, and off it when it has left two
//! in a row unanswered, which is at most two [intervals](RegistryBuilder::interval) after it died or was cut off.
//! It is alive to a resolver if at least one registry that answers has it on its list. The sockets of a resolver
//! follow at most one interval of the [resolver](ResolverBuilder::interval) later, and one more if a registry
//! has just stopped answering.
//!
//! # On the wire
//!
//! Everything is text, UTF-8, one message each way; so a service can be written in any language that has a
//! RESPONDENT, and a client in any that has a REQ. Each message begins with `discovery/` and the version, which
//! is 1, and goes on with words between spaces. Most are fields, `KEY=VALUE`; in a value everything can be
//! percent-encoded, and spaces, control characters, `%` and `=` have to be. Fields that a reader does not know
//! are passed over. A message of another version is refused.
//!
//! | from → to | message | |
//! |---|---|---|
//! | registry SURVEYOR → service RESPONDENT | `discovery/1 who` | A service may answer whatever it is asked. |
//! | the answer | `discovery/1 name=NAME at=ADDRESS …` | and what else it tells of itself |
//! | client REQ → registry REP | `discovery/1 resolve name=NAME` | |
//! | | `discovery/1 list` | |
//! | the answer | `discovery/1 ok survey=NUMBER total=COUNT`, then a line for each service | The fields of a service as it has answered. |
//! | | `discovery/1 error why=REASON` | |
//!
//! | field of a service | is |
//! |---|---|
//! | `name` | what it provides: once, 1 to 128 bytes without spaces |
//! | `at` | an address to connect to: one to 8 times, the most wanted first |
//! | `load` | a number up to 4294967295, higher for more; 0 if it is missing |
//! | `+KEY` | a piece of metadata, up to 32 |
//!
//! A service in another language, as a command:
//!
//! ```sh
//! nngcat --respondent --dial tcp://127.0.0.1:7701 --data 'discovery/1 name=stranger at=tcp://127.0.0.1:7799'
//! nngcat --req --dial tcp://127.0.0.1:7702 --data 'discovery/1 resolve name=stranger' --quoted
//! ```
//!
//! # Limits
//!
//! Questions and answers of services have at most 4096 bytes; the connection of a peer that sends a longer one is
//! closed. An answer to a request has at most 512 KiB, and leaves out services beyond; its `total` counts them.
//! A registry has at most 8192 services ([`RegistryBuilder::max_services`]). What cannot be read is ignored,
//! counted ([`Registry::ignored`]), and told ([`ChangeKind::Ignored`]). Nobody is authenticated: whoever reaches
//! a registry can announce anything.
//!
//! # In a container
//!
//! | variable | is | for |
//! |---|---|---|
//! | `SINEW_SURVEY_URL` | where registries survey | [`RegistryBuilder::environment`], [`Announcement::from_environment`] |
//! | `SINEW_RESOLVE_URL` | where registries answer requests | [`RegistryBuilder::environment`], [`ResolverBuilder::environment`] |
//! | `SINEW_INTERVAL` | milliseconds | the same |
//! | `SINEW_NAME` | the name of the service | [`Announcement::from_environment`] |
//! | `SINEW_ADVERTISE` | its addresses, where they are not those that it is bound at | the same |
//! | `SINEW_ZONE` | where the process is, for near and far | the same, and [`ResolverBuilder::environment`] |
//!
//! Several addresses have commas between them.

mod announcement;
mod changes;
mod environment;
mod registry;
mod resolver;
mod table;
mod wire;

use std::fmt;
use std::io;

use crate::api::Socket;
use crate::api::role::Role;
use crate::error::{BindError, ConnectError, OptionError};
use crate::options::Options;
use crate::runtime::Runtime;

pub use announcement::Announcement;
pub use changes::{Change, ChangeKind, Changes};
pub use registry::{Registry, RegistryBuilder};
pub use resolver::{Found, Listing, ResolveError, Resolver, ResolverBuilder};
pub use wire::{Service, WireError};

#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) use wire::fuzz;

/// Where a registry surveys and answers requests, unless told otherwise, and where they are on its own host.
const SURVEYS: &str = "tcp://0.0.0.0:7701";
const REQUESTS: &str = "tcp://0.0.0.0:7702";
const SURVEYS_HERE: &str = "tcp://127.0.0.1:7701";
const REQUESTS_HERE: &str = "tcp://127.0.0.1:7702";

/// A registry, an announcement or a resolver cannot begin.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An option is out of range: the interval is zero.
    #[error("{0}")]
    Options(#[source] OptionError),
    /// The address cannot be bound.
    #[error("{0}: {1}")]
    Bind(String, #[source] BindError),
    /// The address cannot be connected to: it makes no sense.
    #[error("{0}: {1}")]
    Connect(String, #[source] ConnectError),
    /// The service that is to be announced keeps a limit not.
    #[error("the service cannot be announced: {0}")]
    Service(#[source] WireError),
    /// A variable of the environment has a value that makes no sense.
    #[error("{variable} cannot be {value:?}")]
    Environment {
        /// The name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The system has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes a socket on the runtime, or on the global one if there is none.
fn socket<R: Role>(runtime: Option<&Runtime>, options: Options) -> Result<Socket<R>, StartError> {
    let made = match runtime {
        Some(runtime) => Socket::on(runtime, options),
        None => Socket::with_options(options),
    };
    made.map_err(StartError::Options)
}
