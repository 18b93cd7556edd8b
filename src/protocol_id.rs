//! Protocol numbers: the number of each protocol on the wire, and its name.

use std::fmt;

/// A protocol's 16-bit number on the wire.
///
/// Each side of a connection sends its own in the connection header. A socket talks to peers of one protocol
/// only, such as REQ to REP, and turns away all others
/// ([wire, section 2](crate::spec::wire#2-protocol-ids)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProtocolId(u16);

macro_rules! protocol_ids {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        impl ProtocolId {
            $(#[doc = concat!("`", $text, "`, ", stringify!($id), ".")]
            pub const $name: Self = Self($id);)*

            /// The protocol's name in lower case, such as `req`; `None` for a number that no protocol of
            /// this crate has.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($id => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

protocol_ids! {
    PAIR = 0x10, "pair";
    PAIR1 = 0x11, "pair1";
    PUB = 0x20, "pub";
    SUB = 0x21, "sub";
    REQ = 0x30, "req";
    REP = 0x31, "rep";
    PUSH = 0x50, "push";
    PULL = 0x51, "pull";
    SURVEYOR = 0x62, "surveyor";
    RESPONDENT = 0x63, "respondent";
    BUS = 0x70, "bus";
}

impl ProtocolId {
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
