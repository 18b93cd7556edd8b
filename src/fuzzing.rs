//! The fuzz targets: plain functions of bytes, which panic if something is wrong.
//!
//! `ci/fuzz` runs each in a fuzzer, and the unit tests here run each with the inputs of `fuzz/corpus`. What checks
//! one part stands beside that part; here are those that use the public interface, and the list.

#![allow(missing_docs, reason = "none of it is public but to the fuzzer")]

use std::time::Duration;

use crate::address::Address;
use crate::metrics::Metrics;
use crate::options::EndpointSettings;
use crate::role::{self, Role};
use crate::transport::{Destination, Target, Transports};
use crate::wire::{
    frame::{self, Framing},
    header,
};
use crate::{Conflate, Options, Overflow, Pair, Socket, protocol, ring};

/// What a target does with its input.
pub type Body = fn(&[u8]);

/// The targets that are no simulation.
const PARTS: &[(&str, Body)] = &[
    ("header", header::fuzz),
    ("frame_length", |data| frame::fuzz(Framing::Length, data)),
    ("frame_type_length", |data| frame::fuzz(Framing::TypeAndLength, data)),
    ("frame_parts", |data| frame::fuzz(Framing::Parts, data)),
    #[cfg(feature = "ws")]
    ("ws_frames", crate::wire::ws::fuzz),
    #[cfg(feature = "ws")]
    ("ws_upgrade", crate::wire::ws::upgrade::fuzz),
    ("address", address),
    ("backtrace", protocol::fuzzing::backtrace),
    ("topics", protocol::fuzzing::topics),
    ("ring", ring::fuzz::fuzz),
    ("options", options),
    ("metrics", metrics),
    ("situation", situation),
    #[cfg(feature = "discovery")]
    ("discovery", crate::discovery::fuzz),
    #[cfg(feature = "typed")]
    ("typed", crate::typed::fuzz),
    #[cfg(feature = "typed")]
    ("last_values", crate::last_values::fuzz),
];

/// All targets, by name.
pub fn targets() -> impl Iterator<Item = (&'static str, Body)> {
    PARTS.iter().copied().chain(protocol::fuzzing::SIMULATIONS.iter().copied())
}

/// Runs a target.
///
/// # Panics
///
/// There is none of this name, or something is wrong.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets().find(|(it, _)| *it == name).expect("a target");
    target(data);
}

/// An address is taken apart without a loss, and every transport says where it leads or why nowhere.
fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(address) = Address::parse(text) else { return };
    assert_eq!(address.url(), text);
    assert_eq!(format!("{}://{}", address.scheme(), address.after_scheme()), text);
    let Ok(transport) = Transports::standard().find(&address).cloned() else { return };
    match transport.target(&address) {
        Ok(Target::Name { host, .. }) => assert!(!host.is_empty()),
        Ok(Target::Known(Destination::Inet { remote, .. })) => assert_ne!(remote.port(), 0),
        Ok(Target::Known(_)) => {}
        Err(error) => one_line(&error.to_string()),
    }
    let _ = EndpointSettings::default();
}

/// Sockets take options or say which is wrong, whatever they are; what they took they take again.
fn options(data: &[u8]) {
    let [place, fields @ ..] = data else { return };
    let mut options = Options::new();
    for field in fields.chunks_exact(3) {
        let (small, large) = (u16::from_le_bytes([field[1], field[2]]), field[1] >= 0xF0);
        let number = if large { usize::MAX - usize::from(field[2]) } else { usize::from(small) };
        let time = if large { Duration::MAX } else { Duration::from_millis(u64::from(small)) };
        options = match field[0] % 36 {
            0 => options.send_timeout(time),
            1 => options.recv_timeout(time),
            2 => options.send_queue(number),
            3 => options.send_queue_bytes(number),
            4 => options.recv_queue(number),
            5 => options.recv_queue_bytes(number),
            6 => options.spin(time),
            7 => options.max_send_size(number),
            8 => options.max_recv_size(number),
            9 => options.linger(time),
            10 => options.reconnect_interval(time),
            11 => options.reconnect_max(time),
            12 => options.connect_timeout(time),
            13 => options.handshake_timeout(time),
            14 => options.tcp_keepalive(time),
            15 => options.kernel_send_buffer(number),
            16 => options.ttl(small),
            17 => options.resend_interval(time),
            18 => options.max_resends(u32::from(small)),
            19 => options.survey_deadline(time),
            20 => options.survey_storage(number),
            21 => options.overflow(
                [Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect]
                    [usize::from(small % 4)],
            ),
            22 => options.sub_queue(number),
            23 => options.sub_queue_bytes(number),
            24 => options.conflate(Conflate::Prefix(number)),
            25 => options.send_priority(field[1]),
            26 => options.recv_priority(field[1]),
            27 => options.recv_budget(number),
            28 => options.frame_timeout(time),
            29 => options.max_peers(number),
            30 => options.max_handshakes(number),
            31 => options.reconnect_max(None),
            32 => options.prefer_new(large),
            33 => options.requeue(large),
            34 => options.kernel_recv_buffer(number),
            _ => options.name(String::from_utf8_lossy(field)),
        };
    }
    MAKERS[usize::from(*place) % MAKERS.len()](options.clone());
    let _ = format!("{options:?}");
}

/// Makes a socket of each role. A corpus names them by their places.
const MAKERS: [fn(Options); 12] = [
    make::<role::Pair>,
    make::<role::Req>,
    make::<role::Rep>,
    make::<role::Push>,
    make::<role::Pull>,
    make::<role::Pub>,
    make::<role::Sub>,
    make::<role::Bus>,
    make::<role::Surveyor>,
    make::<role::Respondent>,
    make::<role::Pair1>,
    make::<role::PolyPair1>,
];

/// A socket is made and closed, or an error says why there is none.
fn make<R: Role>(options: Options) {
    match Socket::<R>::with_options(options) {
        Ok(socket) => {
            let _ = format!("{socket:?}");
            socket.close().expect("it was open");
        }
        Err(error) => one_line(&error.to_string()),
    }
}

/// Two sockets whose names the data has.
fn named(data: &[u8]) -> Option<[(String, Pair); 2]> {
    let [cut, names @ ..] = data else { return None };
    let (one, other) = names.split_at(usize::from(*cut).min(names.len()));
    let pair = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).into_owned();
        let pair = Pair::with_options(Options::new().name(name.clone())).ok()?;
        Some((name, pair))
    };
    Some([pair(one)?, pair(other)?])
}

/// The page of metrics is well-formed, and has each socket under its name, whatever the names are.
fn metrics(data: &[u8]) {
    let Some([(one, a), (other, b)]) = named(data) else { return };
    let page = Metrics::new().socket(&a).socket(&b).per_peer(true).to_string();
    let body = page.strip_suffix("# EOF\n").expect("the end is marked");
    let mut open = Vec::new();
    for line in body.split_terminator('\n') {
        if line.starts_with("# ") {
            continue;
        }
        let (name, labels, value) = sample(line).unwrap_or_else(|| panic!("no sample: {line:?}"));
        assert!(name.starts_with("sinew_"));
        assert!(value.parse::<f64>().is_ok(), "{line:?}");
        if name == "sinew_socket_open" {
            let socket = labels.iter().find(|(label, _)| *label == "socket");
            open.push(socket.expect("every sample has it").1.clone());
        }
    }
    assert_eq!(open.len(), 2);
    assert_eq!(open[0], one);
    let renamed = || open[1].starts_with(&format!("{other}-"));
    assert!(if one == other { renamed() } else { open[1] == other });
}

/// The name, the labels with their values, and the value.
type Sample<'a> = (&'a str, Vec<(&'a str, String)>, &'a str);

/// Takes a line apart.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, mut rest) = line.split_once('{')?;
    let mut labels = Vec::new();
    loop {
        let (label, more) = rest.split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), more.char_indices());
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, char) => value.push(char),
            }
        };
        labels.push((label, value));
        rest = &more[end..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some((name, labels, rest.strip_prefix("} ")?)),
        }
    }
}

/// The sentence of a time-out is one line, whatever the socket is called.
fn situation(data: &[u8]) {
    let Some([(_, pair), _]) = named(data) else { return };
    let error = pair.send_timeout("x", Duration::ZERO).expect_err("nobody is there");
    one_line(&error.to_string());
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What fuzzers have found worth keeping, on any compiler.
    #[test]
    fn the_corpora_hold_nothing_that_panics() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        if !corpora.exists() {
            return eprintln!("SKIPPED: the package of the crate has no corpora");
        }
        for (name, target) in targets() {
            let corpus = fs::read_dir(corpora.join(name)).expect(name);
            let mut inputs: Vec<_> = corpus.map(|entry| entry.expect(name).path()).collect();
            inputs.sort();
            assert!(!inputs.is_empty(), "{name} has none");
            for path in inputs {
                let input = fs::read(&path).expect("an input");
                let panicked = std::panic::catch_unwind(|| target(&input)).is_err();
                assert!(!panicked, "{name} fails with {}", path.display());
            }
        }
    }

    /// Each target is one that `ci/fuzz` runs.
    #[test]
    fn every_target_has_a_program() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
        let Ok(manifest) = fs::read_to_string(manifest) else {
            return eprintln!("SKIPPED: the package of the crate has no fuzz targets");
        };
        let named = manifest.matches("[[bin]]").count();
        // Those of features that are off are no targets now.
        let missing = usize::from(!cfg!(feature = "discovery"))
            + 2 * usize::from(!cfg!(feature = "typed"))
            + 2 * usize::from(!cfg!(feature = "ws"));
        assert_eq!(named, targets().count() + missing);
        for (name, _) in targets() {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
