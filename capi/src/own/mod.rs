//! The calls of `sinew.h`: what nanomsg's interface cannot say.
//!
//! Handles are pointers to opaque values, each made by one call and freed by one. A call returns 0 or an error number,
//! and leaves a sentence for [`sinew_error`].

#![allow(non_camel_case_types, missing_debug_implementations, reason = "handles of C")]

mod context;
mod events;
mod failure;
mod message;
mod option;
mod peers;
mod request;
mod socket;

pub use context::*;
pub use events::*;
pub use failure::{sinew_error, sinew_strerror};
pub use message::*;
pub use option::*;
pub use peers::*;
pub use request::*;
pub use socket::*;

pub(crate) use socket::close_all;
