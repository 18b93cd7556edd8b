//! Seconds on the command line: any number of them, whole or not.

use std::time::Duration;

/// A time limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

/// Reads a time, zero or more seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(number)
        .map_err(|_| format!("{text:?} is less than zero or more seconds than there are"))
}

/// Reads a time limit; one that is below zero is none.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    match text.parse::<f64>() {
        Ok(number) if number < 0.0 => Ok(Limit(None)),
        _ => seconds(text).map(|time| Limit(Some(time))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("3"), Ok(Duration::from_secs(3)));
        assert_eq!(limit("-1"), Ok(Limit(None)));
        assert_eq!(limit("0"), Ok(Limit(Some(Duration::ZERO))));
        for wrong in ["", "-1", "soon", "1e30", "NaN", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
