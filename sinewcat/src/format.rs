//! How a received message is printed: the formats of nanocat and nngcat, byte for byte.
//!
//! Owns standard output while messages are printed, and flushes it after each one. Knows nothing of
//! sockets.

use std::io::{self, BufWriter, Stdout, Write};

use crate::dialect::Dialect;
use crate::failure::Outcome;

/// The form in which a message is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Not at all.
    No,
    /// The body as it is, without anything between two messages.
    Raw,
    /// Printable ASCII, a dot for every other byte.
    Ascii,
    /// A line in double quotes, with the escapes of C.
    Quoted,
    /// MessagePack: bin 8, 16 or 32.
    Msgpack,
    /// A line in double quotes, every byte as \xhh.
    Hex,
}

/// Prints messages to standard output.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    dialect: Dialect,
    out: BufWriter<Stdout>,
}

impl Printer {
    pub(crate) fn new(format: Format, dialect: Dialect) -> Self {
        Self { format, dialect, out: BufWriter::new(io::stdout()) }
    }

    /// Prints one message and flushes.
    pub(crate) fn print(&mut self, body: &[u8]) -> Outcome {
        self.format.write(self.dialect, body, &mut self.out)?;
        Ok(self.out.flush()?)
    }

    /// Prints a line about the tool itself.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }
}

impl Format {
    fn write(self, dialect: Dialect, body: &[u8], out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::No => Ok(()),
            Self::Raw => out.write_all(body),
            Self::Ascii => ascii(dialect, body, out),
            Self::Quoted => quoted(dialect, body, out),
            Self::Msgpack => msgpack(body, out),
            Self::Hex => hex(body, out),
        }
    }
}

fn is_printable(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn ascii(dialect: Dialect, body: &[u8], out: &mut impl Write) -> io::Result<()> {
    for &byte in body {
        out.write_all(&[if is_printable(byte) { byte } else { b'.' }])?;
    }
    if dialect.ends_ascii_lines() { out.write_all(b"\n") } else { Ok(()) }
}

fn quoted(dialect: Dialect, body: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"\"")?;
    for &byte in body {
        match byte {
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            b'\t' if dialect.escapes_tabs() => out.write_all(b"\\t")?,
            b'"' | b'\\' => out.write_all(&[b'\\', byte])?,
            byte if is_printable(byte) => out.write_all(&[byte])?,
            byte => write!(out, "\\x{byte:02x}")?,
        }
    }
    out.write_all(b"\"\n")
}

fn hex(body: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"\"")?;
    for byte in body {
        write!(out, "\\x{byte:02x}")?;
    }
    out.write_all(b"\"\n")
}

fn msgpack(body: &[u8], out: &mut impl Write) -> io::Result<()> {
    let len = u32::try_from(body.len()).map_err(|_| {
        let text = format!("a message of {} bytes is too long for msgpack", body.len());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let [_, _, high, low] = len.to_be_bytes();
    match len {
        0..0x100 => out.write_all(&[0xc4, low])?,
        0x100..0x1_0000 => out.write_all(&[0xc5, high, low])?,
        _ => {
            out.write_all(&[0xc6])?;
            out.write_all(&len.to_be_bytes())?;
        }
    }
    out.write_all(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, dialect: Dialect, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        format.write(dialect, body, &mut out).unwrap();
        out
    }

    #[test]
    fn each_format_writes_its_bytes() {
        let body = b"a\"\\\n\r\t\0\x7f\xff~ ";
        let own = |format| printed(format, Dialect::Sinewcat, body);
        assert_eq!(own(Format::No), b"");
        assert_eq!(own(Format::Raw), body);
        assert_eq!(own(Format::Ascii), b"a\"\\......~ \n");
        assert_eq!(own(Format::Quoted), b"\"a\\\"\\\\\\n\\r\\t\\x00\\x7f\\xff~ \"\n");
        assert_eq!(
            own(Format::Hex),
            b"\"\\x61\\x22\\x5c\\x0a\\x0d\\x09\\x00\\x7f\\xff\\x7e\\x20\"\n"
        );
    }

    #[test]
    fn the_dialects_differ_in_a_tab_and_a_newline() {
        assert_eq!(printed(Format::Quoted, Dialect::Nanocat, b"\t"), b"\"\\x09\"\n");
        assert_eq!(printed(Format::Quoted, Dialect::Nngcat, b"\t"), b"\"\\t\"\n");
        assert_eq!(printed(Format::Ascii, Dialect::Nanocat, b"x"), b"x\n");
        assert_eq!(printed(Format::Ascii, Dialect::Nngcat, b"x"), b"x");
    }

    #[test]
    fn msgpack_takes_the_shortest_length_that_fits() {
        for (len, head) in [
            (0, &[0xc4, 0][..]),
            (255, &[0xc4, 255]),
            (256, &[0xc5, 1, 0]),
            (65535, &[0xc5, 255, 255]),
            (65536, &[0xc6, 0, 1, 0, 0]),
        ] {
            let out = printed(Format::Msgpack, Dialect::Sinewcat, &vec![7; len]);
            assert_eq!(&out[..head.len()], head);
            assert_eq!(out.len(), head.len() + len);
        }
    }
}
