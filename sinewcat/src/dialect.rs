//! Where nanocat and nngcat differ from each other, and what sinewcat does.
//!
//! Owns the choice between their ways, which the name of the program or `--compat` makes. The other files ask
//! here, and know neither of the two by name.

use std::ffi::OsStr;
use std::path::Path;

use crate::failure::Failure;

/// The program that the tool behaves like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Itself: what both have in common, and the better of where they differ.
    Sinewcat,
    /// nanocat: run as `nanocat` or `nn_…`, or with `--compat`.
    Nanocat,
    /// nngcat: run as `nngcat`.
    Nngcat,
}

/// The names that choose a protocol as well.
const ALIASES: [&str; 10] =
    ["push", "pull", "pub", "sub", "req", "rep", "surveyor", "respondent", "bus", "pair"];

/// What the name of the program means: a dialect, and the option that it stands for.
pub(crate) fn of_program(name: &OsStr) -> (Dialect, Option<String>) {
    let name = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let alias = name.strip_prefix("nn_").filter(|protocol| ALIASES.contains(protocol));
    match (name, alias) {
        (_, Some(protocol)) => (Dialect::Nanocat, Some(format!("--{protocol}"))),
        ("nanocat", None) => (Dialect::Nanocat, None),
        ("nngcat", None) => (Dialect::Nngcat, None),
        _ => (Dialect::Sinewcat, None),
    }
}

impl Dialect {
    /// Whether a message in `ascii` ends with a newline.
    pub(crate) fn ends_ascii_lines(self) -> bool {
        self != Self::Nngcat
    }

    /// Whether `quoted` has an escape for the tab.
    pub(crate) fn escapes_tabs(self) -> bool {
        self != Self::Nanocat
    }

    /// Whether `--connect` and its short forms make one attempt first, as `--dial` does.
    pub(crate) fn connects_now(self) -> bool {
        self == Self::Nngcat
    }

    /// Whether `--dial` goes on in the background from the start.
    pub(crate) fn dials_later(self) -> bool {
        self == Self::Nanocat
    }

    /// The address of a path given with `-X` or `-x`.
    pub(crate) fn ipc(self, path: &str) -> String {
        match self {
            Self::Nngcat => format!("ipc:///{path}"),
            Self::Sinewcat | Self::Nanocat => format!("ipc://{path}"),
        }
    }

    /// Whether `-v` prints the addresses.
    pub(crate) fn tells_addresses(self) -> bool {
        self != Self::Nanocat
    }

    /// Whether `-v` prints why nothing happens, wherever standard error goes.
    pub(crate) fn explains(self) -> bool {
        self == Self::Sinewcat
    }

    /// Whether messages are printed on a terminal when no format is given.
    pub(crate) fn prints_on_terminals(self) -> bool {
        self == Self::Sinewcat
    }

    /// Whether messages of any length are sent.
    pub(crate) fn sends_any_length(self) -> bool {
        self != Self::Sinewcat
    }

    /// Whether a timeout is a failure for a protocol that answers.
    pub(crate) fn must_be_asked(self) -> bool {
        self != Self::Sinewcat
    }

    /// Whether a time limit of zero means no limit.
    pub(crate) fn zero_is_no_limit(self) -> bool {
        self == Self::Nngcat
    }

    /// Whether a time limit for something that a protocol never does is ignored.
    pub(crate) fn takes_useless_limits(self) -> bool {
        self == Self::Nngcat
    }

    /// Whether received messages may have any length, unless an option limits it.
    pub(crate) fn takes_any_length(self) -> bool {
        self == Self::Nngcat
    }

    /// The exit status that scripts expect.
    pub(crate) fn status(self, failure: &Failure) -> u8 {
        match (self, failure.status()) {
            (Self::Nanocat | Self::Nngcat, 0 | 4) => 0,
            (Self::Nngcat, _) => 1,
            (_, status) => status,
        }
    }

    /// The exit status after `--help`.
    pub(crate) fn status_of_help(self) -> u8 {
        u8::from(self == Self::Nngcat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_chooses() {
        let of = |name: &str| of_program(OsStr::new(name));
        assert_eq!(of("/usr/bin/nn_req"), (Dialect::Nanocat, Some("--req".to_owned())));
        assert_eq!(of("nanocat"), (Dialect::Nanocat, None));
        assert_eq!(of("./nngcat"), (Dialect::Nngcat, None));
        assert_eq!(of("sinewcat"), (Dialect::Sinewcat, None));
        assert_eq!(of("nn_star"), (Dialect::Sinewcat, None));
    }
}
