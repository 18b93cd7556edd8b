//! Names: whom a certificate names.
//!
//! Owns the little of X.509 that it takes to find them: the common name of the subject, and its alternative names.
//! The certificate has been verified before, and its form with it; all the same nothing is taken for granted.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;

use crate::peer::PeerIdentity;

// The tags of DER that occur here.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
/// The version, which certificates of version 1 have not.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of alternative names.
const MAIL: u8 = 0x81;
const HOST: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// The identity in a verified chain, whose first certificate is that of the peer.
pub(crate) fn identity(chain: &[CertificateDer<'_>]) -> PeerIdentity {
    let own = chain.first().map_or(&[][..], |own| own);
    let (common_name, names) = named(own).unwrap_or_default();
    PeerIdentity::new(chain.iter().map(|one| one.to_vec()).collect(), names, common_name)
}

/// The common name and the alternative names in a certificate; `None` if it is none.
pub(super) fn named(certificate: &[u8]) -> Option<(Option<String>, Vec<String>)> {
    let mut outer = Der(certificate);
    let mut fields = Der(Der(outer.take(SEQUENCE)?).take(SEQUENCE)?);
    if fields.is_next(VERSION) {
        fields.next()?;
    }
    // The serial number, the algorithm, the issuer and the time.
    for _ in 0..4 {
        fields.next()?;
    }
    let common_name = common_name(Der(fields.take(SEQUENCE)?));
    // The key, and perhaps numbers of the issuer and the subject.
    while !fields.is_empty() && !fields.is_next(EXTENSIONS) {
        fields.next()?;
    }
    let names = match fields.take(EXTENSIONS) {
        Some(extensions) => alternative_names(Der(Der(extensions).take(SEQUENCE)?)),
        None => Vec::new(),
    };
    Some((common_name, names))
}

/// The last common name of a subject, which is the most specific one.
fn common_name(mut subject: Der<'_>) -> Option<String> {
    let mut found = None;
    while let Some(set) = subject.take(SET) {
        let mut set = Der(set);
        while let Some(pair) = set.take(SEQUENCE) {
            let mut pair = Der(pair);
            if pair.take(OBJECT)? == COMMON_NAME {
                let (tag, value) = pair.next()?;
                let is_text = [UTF8, PRINTABLE, IA5].contains(&tag);
                found = text(value).filter(|_| is_text).or(found);
            }
        }
    }
    found
}

fn alternative_names(mut extensions: Der<'_>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut extension = Der(extension);
        if extension.take(OBJECT) != Some(ALTERNATIVE_NAMES) {
            continue;
        }
        if !extension.is_next(OCTETS) {
            // Whether it is critical.
            extension.next();
        }
        let names = extension.take(OCTETS).and_then(|octets| Der(octets).take(SEQUENCE));
        let mut names = Der(names.unwrap_or_default());
        while let Some((kind, value)) = names.next() {
            found.extend(alternative_name(kind, value));
        }
    }
    found
}

fn alternative_name(kind: u8, value: &[u8]) -> Option<String> {
    match kind {
        MAIL | HOST | URI => text(value),
        IP => {
            let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).to_string());
            let v6 = || Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).to_string());
            v4().or_else(v6)
        }
        _ => None,
    }
}

/// A name. One with control characters would be taken for another where it is shown or compared, and is none.
fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// Values in DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_next(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Takes the next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.is_next(tag) { self.next().map(|(_, value)| value) } else { None }
    }

    /// Takes the next value. Nothing is taken if there is none, or not all of it.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A length of up to four bytes.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
                (len, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }
}
