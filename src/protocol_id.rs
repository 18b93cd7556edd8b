//! Protocol numbers: the number of each protocol on the wire, and its name.

use std::fmt;

/// A protocol's 16-bit number on the wire.
///
/// Each side of a connection sends its own in the connection header. A socket talks to peers of one protocol
/// only, such as REQ to REP, and turns away all others
/// ([wire, section 2](crate::spec::wire#2-protocol-ids)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProtocolId(u16);

impl ProtocolId {
    /// `pair`, 0x10.
    pub const PAIR: Self = Self(0x10);
    /// `pair1`, 0x11.
    pub const PAIR1: Self = Self(0x11);
    /// `pub`, 0x20.
    pub const PUB: Self = Self(0x20);
    /// `sub`, 0x21.
    pub const SUB: Self = Self(0x21);
    /// `req`, 0x30.
    pub const REQ: Self = Self(0x30);
    /// `rep`, 0x31.
    pub const REP: Self = Self(0x31);
    /// `push`, 0x50.
    pub const PUSH: Self = Self(0x50);
    /// `pull`, 0x51.
    pub const PULL: Self = Self(0x51);
    /// `surveyor`, 0x62.
    pub const SURVEYOR: Self = Self(0x62);
    /// `respondent`, 0x63.
    pub const RESPONDENT: Self = Self(0x63);
    /// `bus`, 0x70.
    pub const BUS: Self = Self(0x70);

    /// The protocol's name in lower case, such as `req`; `None` for a number that no protocol of
    /// this crate has.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::PAIR => "pair",
            Self::PAIR1 => "pair1",
            Self::PUB => "pub",
            Self::SUB => "sub",
            Self::REQ => "req",
            Self::REP => "rep",
            Self::PUSH => "push",
            Self::PULL => "pull",
            Self::SURVEYOR => "surveyor",
            Self::RESPONDENT => "respondent",
            Self::BUS => "bus",
            _ => return None,
        })
    }

    /// Whether its sockets may take a single peer only.
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Self::PAIR | Self::PAIR1)
    }

    /// The id with this number, whether or not it is known.
    pub(crate) const fn from_wire(id: u16) -> Self {
        Self(id)
    }

    /// The number on the wire.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtocolId({self})")
    }
}
