//! What the library reports, as JSON: peers, counters, message bodies. One object a line.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use sinew::{Peer, Stats};

use crate::failure::Outcome;

/// Prints one line, at once.
pub(crate) fn print(value: &Value) -> Outcome {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Seconds since 1970, in UTC.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The peer at the other end of a pipe. Unknown values are `null`.
pub(crate) fn peer(peer: &Peer) -> Value {
    let credentials = peer.credentials.as_ref();
    json!({
        "pipe": peer.pipe.get(),
        "protocol": peer.protocol.to_string(),
        "remote": some(&peer.remote),
        "local": some(&peer.local),
        "endpoint": peer.url,
        "direction": direction(peer),
        "pid": credentials.and_then(|credentials| credentials.pid),
        "uid": credentials.map(|credentials| credentials.uid),
        "gid": credentials.map(|credentials| credentials.gid),
        "seconds": peer.since.elapsed().as_secs_f64(),
    })
}

/// Which of the two sides has connected.
pub(crate) fn direction(peer: &Peer) -> &'static str {
    if peer.outgoing { "outgoing" } else { "incoming" }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Puts a body into `line`: as `text` if it is UTF-8, as `hex` if not.
pub(crate) fn put_body(line: &mut Value, body: &[u8]) {
    match std::str::from_utf8(body) {
        Ok(text) => line["text"] = text.into(),
        Err(_) => line["hex"] = hex(body).into(),
    }
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All counters of a socket, and the drops by their reasons, the zeros included.
pub(crate) fn stats(stats: &Stats) -> Value {
    let drops = object(stats.dropped().map(|(reason, count)| (reason.name(), count)));
    let mut value = object(stats.figures());
    value["dropped"] = drops;
    value
}

fn object(counts: impl Iterator<Item = (&'static str, u64)>) -> Value {
    counts.map(|(name, count)| (name.to_owned(), Value::from(count))).collect::<Map<_, _>>().into()
}
