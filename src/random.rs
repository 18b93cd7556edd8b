//! Random numbers, for what must differ between processes.
//!
//! Owns where they come from. Nothing that is secret may depend on them.

#[cfg(shuttle)]
pub(crate) use crate::sync::clock::random as number;

/// A random number from the operating system; where it has none, from the clock and the address
/// layout, since here it only has to differ between processes.
#[cfg(not(shuttle))]
pub(crate) fn number() -> u32 {
    #[cfg(feature = "testing")]
    if let Some(number) = crate::time::stage::number() {
        return (number >> 32) as u32;
    }
    getrandom::u32().unwrap_or_else(|error| {
        use std::hash::{BuildHasher, RandomState};
        crate::contain::record!(
            Warn,
            { reason: error },
            "no random numbers from the system ({error})"
        );
        let hash = RandomState::new().hash_one(std::process::id());
        u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(1)
    })
}
