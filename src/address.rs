//! Addresses, such as `tcp://127.0.0.1:80`.
//!
//! Owns where an address is split. The transport decides what the part after `://` means.

use crate::error::AddressError;

/// An address as the program gave it, split at `://`.
///
/// ```
/// use sinew::transport::Address;
///
/// let address = Address::parse("tcp://127.0.0.1:80")?;
/// assert_eq!((address.scheme(), address.after_scheme()), ("tcp", "127.0.0.1:80"));
/// # Ok::<(), sinew::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    scheme: usize,
}

impl Address {
    /// Splits an address at the first `://`. Transports receive addresses that are already split.
    ///
    /// # Errors
    ///
    /// [`AddressError::NoScheme`] if there is no `://`, or nothing before it.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        match url.find("://") {
            Some(scheme) if scheme > 0 => Ok(Self { url: url.to_owned(), scheme }),
            _ => Err(AddressError::NoScheme { url: url.to_owned() }),
        }
    }

    /// The whole address, as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The part before `://`, compared exactly.
    pub fn scheme(&self) -> &str {
        &self.url[..self.scheme]
    }

    /// The part after `://`.
    pub fn after_scheme(&self) -> &str {
        &self.url[self.scheme + "://".len()..]
    }

    /// The error that this address is wrong for `reason`, a phrase such as `there is no port`.
    pub fn malformed(&self, reason: &'static str) -> AddressError {
        AddressError::Malformed { url: self.url.clone(), reason }
    }

    /// The error for a text that cannot be a host.
    pub fn bad_host(&self, host: &str, reason: &'static str) -> AddressError {
        AddressError::Host { url: self.url.clone(), host: host.to_owned(), reason }
    }

    /// The error for a port that is missing or not a port number.
    pub fn bad_port(&self, port: &str, reason: &'static str) -> AddressError {
        AddressError::Port { url: self.url.clone(), port: port.to_owned(), reason }
    }

    /// The error for a text that cannot be the zone of an IPv6 address.
    pub fn bad_zone(&self, zone: &str, reason: &'static str) -> AddressError {
        AddressError::Zone { url: self.url.clone(), zone: zone.to_owned(), reason }
    }

    /// The error for a path or name that is missing, unusable, or not allowed there.
    pub fn bad_path(&self, path: &str, reason: &'static str) -> AddressError {
        AddressError::Path { url: self.url.clone(), path: path.to_owned(), reason }
    }

    /// The error for a piece that has more than `limit` bytes.
    pub fn too_long(&self, piece: &str, limit: usize) -> AddressError {
        AddressError::TooLong { url: self.url.clone(), piece: piece.to_owned(), limit }
    }

    /// The error for a scheme that no transport has; the schemes of all transports are `known`.
    pub(crate) fn unknown_transport(&self, known: Vec<String>) -> AddressError {
        let (url, scheme) = (self.url.clone(), self.scheme().to_owned());
        AddressError::UnknownTransport { url, scheme, known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_cut_at_the_first_colon_slash_slash() {
        let address = Address::parse("tcp://a://b").unwrap();
        assert_eq!((address.scheme(), address.after_scheme()), ("tcp", "a://b"));
    }

    /// C246.
    #[test]
    fn an_address_without_a_scheme_is_refused() {
        for url in ["", "://", "inproc:x", "://x", "tcp:/127.0.0.1:1", "tcp"] {
            let refused = Address::parse(url).unwrap_err();
            assert_eq!(refused, AddressError::NoScheme { url: url.to_owned() });
        }
    }
}
