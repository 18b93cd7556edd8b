//! How often a long test does what it repeats. Owns that rule and nothing else: the unit tests of the
//! crate use this file too.

#![allow(unreachable_pub, reason = "it is private in the crate, and not in the kit")]

/// How often a long test does what it repeats: `usual` times, or a part of that where the environment
/// variable `SINEW_TEST_ROUNDS` has a percentage, as under sanitizers.
pub fn rounds(usual: u32) -> u32 {
    let percent: u64 = match std::env::var("SINEW_TEST_ROUNDS") {
        Ok(percent) => percent.parse().expect("SINEW_TEST_ROUNDS is a percentage, such as 5"),
        Err(_) => 100,
    };
    u32::try_from(u64::from(usual) * percent.min(100) / 100)
        .expect("it is no more than usual")
        .max(1)
}
