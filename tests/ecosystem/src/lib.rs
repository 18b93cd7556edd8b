//! sinew among the crates that programs use beside it: tokio, smol, futures and serde, and what
//! stands on it with features: values in place of bytes. Owns the programs of
//! the guide as well, which compile and run as tests: some need a runtime.

#[cfg(test)]
mod async_runtimes;
#[cfg(test)]
mod collector;
#[cfg(test)]
mod event_loop;
#[cfg(test)]
mod events;
#[cfg(test)]
mod last_values;
#[cfg(test)]
mod serialize;
#[cfg(test)]
mod values;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/cookbook/async_clients.md")]
struct AsyncClients;
