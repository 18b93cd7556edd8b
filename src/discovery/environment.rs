//! What a container is told by its environment.
//!
//! Owns the names of the variables, and how their values are read.

use std::time::Duration;

use super::StartError;

pub(super) const SURVEY_URL: &str = "SINEW_SURVEY_URL";
pub(super) const RESOLVE_URL: &str = "SINEW_RESOLVE_URL";
pub(super) const INTERVAL: &str = "SINEW_INTERVAL";
pub(super) const NAME: &str = "SINEW_NAME";
pub(super) const ADVERTISE: &str = "SINEW_ADVERTISE";
pub(super) const ZONE: &str = "SINEW_ZONE";

/// The value of a variable, if it is set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of the process. A variable that is empty is not set.
pub(super) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The parts between commas.
pub(super) fn list(
    lookup: Lookup<'_>,
    variable: &'static str,
) -> Result<Option<Vec<String>>, StartError> {
    let Some(value) = lookup(variable) else { return Ok(None) };
    let parts: Vec<String> = value.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) {
        return Err(StartError::Environment { variable, value });
    }
    Ok(Some(parts))
}

/// A time in milliseconds, above zero.
pub(super) fn milliseconds(
    lookup: Lookup<'_>,
    variable: &'static str,
) -> Result<Option<Duration>, StartError> {
    let Some(value) = lookup(variable) else { return Ok(None) };
    match value.parse() {
        Ok(number) if number > 0 => Ok(Some(Duration::from_millis(number))),
        _ => Err(StartError::Environment { variable, value }),
    }
}

/// The name of the host, where the system tells it in a file.
pub(super) fn host() -> Option<String> {
    if crate::time::is_simulated() {
        return simulated_host();
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(feature = "testing")]
fn simulated_host() -> Option<String> {
    Some(crate::testing::here().name().to_owned())
}

#[cfg(not(feature = "testing"))]
fn simulated_host() -> Option<String> {
    None
}

/// The address with the name of the host in the place of a wildcard, which nobody can connect to.
pub(super) fn reachable(bound: &str) -> String {
    let wild = ["tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"];
    let port = wild.iter().find_map(|wild| bound.strip_prefix(wild));
    match (port, host()) {
        (Some(port), Some(host)) => format!("tcp://{host}:{port}"),
        _ => bound.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_makes_no_sense_is_named() {
        let value = |value: &'static str| move |_: &str| Some(value.to_owned());
        for wrong in ["", "x", "0", "-1", "1 s"] {
            let error = milliseconds(&value(wrong), INTERVAL).unwrap_err().to_string();
            assert!(error.contains("SINEW_INTERVAL") && error.contains(&format!("{wrong:?}")));
        }
        assert!(list(&value("a,,b"), SURVEY_URL).is_err());
        assert_eq!(list(&|_| None, SURVEY_URL).unwrap(), None);
    }

    #[test]
    fn a_wildcard_is_no_address_to_connect_to() {
        let Some(host) = host() else { return };
        assert_eq!(reachable("tcp://0.0.0.0:80"), format!("tcp://{host}:80"));
        assert_eq!(reachable("tcp://127.0.0.1:80"), "tcp://127.0.0.1:80");
    }
}
