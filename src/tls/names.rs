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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One value, with its length in as many bytes as it takes.
    fn der(tag: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).unwrap();
        let mut der = match len {
            0..=0x7f => vec![tag, value.len() as u8],
            _ => [&[tag, 0x82][..], &len.to_be_bytes()].concat(),
        };
        der.extend_from_slice(value);
        der
    }

    fn all(values: &[Vec<u8>]) -> Vec<u8> {
        values.concat()
    }

    fn attribute(object: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        der(SET, &der(SEQUENCE, &all(&[der(OBJECT, object), der(tag, text)])))
    }

    /// As much of a certificate as is looked at.
    fn certificate(subject: &[Vec<u8>], names: &[Vec<u8>], is_critical: bool) -> Vec<u8> {
        let empty = || der(SEQUENCE, &[]);
        let critical = if is_critical { der(0x01, &[0xff]) } else { Vec::new() };
        let octets = der(OCTETS, &der(SEQUENCE, &all(names)));
        let extension = der(SEQUENCE, &all(&[der(OBJECT, ALTERNATIVE_NAMES), critical, octets]));
        let other = der(SEQUENCE, &all(&[der(OBJECT, &[0x55, 0x1d, 0x0f]), der(OCTETS, &[1])]));
        let extensions = der(EXTENSIONS, &der(SEQUENCE, &all(&[other, extension])));
        let subject = der(SEQUENCE, &all(subject));
        let fields = [
            der(VERSION, &[2, 1, 2]),
            der(0x02, &[7]),
            empty(),
            empty(),
            empty(),
            subject,
            empty(),
            extensions,
        ];
        der(SEQUENCE, &all(&[der(SEQUENCE, &all(&fields)), empty(), der(0x03, &[0])]))
    }

    #[test]
    fn names_of_all_kinds_are_found_and_those_that_deceive_are_left_out() {
        let subject = [
            attribute(&[0x55, 0x04, 0x0a], UTF8, b"an organization"),
            attribute(COMMON_NAME, UTF8, "b\u{fc}ro".as_bytes()),
        ];
        let names = [
            der(HOST, b"a.example"),
            der(HOST, b"good.example\0.evil.example"),
            der(IP, &[127, 0, 0, 1]),
            der(IP, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            der(IP, &[1, 2, 3]),
            der(MAIL, b"a@example.org"),
            der(URI, b"spiffe://example.org/a"),
            der(0x88, b"of another kind"),
            der(HOST, b"\xff"),
        ];
        for is_critical in [false, true] {
            let (common_name, found) = named(&certificate(&subject, &names, is_critical)).unwrap();
            assert_eq!(common_name.as_deref(), Some("b\u{fc}ro"));
            let expected =
                ["a.example", "127.0.0.1", "::1", "a@example.org", "spiffe://example.org/a"];
            assert_eq!(found, expected);
        }
        let nul = [attribute(COMMON_NAME, UTF8, b"good\0evil"), attribute(COMMON_NAME, 0x1e, b"a")];
        assert_eq!(named(&certificate(&nul, &[], false)), Some((None, Vec::new())));
    }

    #[test]
    fn a_certificate_that_is_cut_short_is_none() {
        let whole = certificate(&[attribute(COMMON_NAME, UTF8, b"a")], &[der(HOST, b"a")], false);
        assert!((0..whole.len()).all(|len| named(&whole[..len]).is_none()));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_they_do_no_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..150,
        ) {
            let _ = named(&bytes);
            let mut changed =
                certificate(&[attribute(COMMON_NAME, UTF8, b"a")], &[der(HOST, b"a.example")], true);
            let end = changed.len().min(at + bytes.len());
            if at < end {
                changed[at..end].copy_from_slice(&bytes[..end - at]);
            }
            let _ = named(&changed);
        }
    }
}
