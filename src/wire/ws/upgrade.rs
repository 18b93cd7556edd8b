//! The upgrade: the HTTP request with which a client asks for WebSocket, and the response.
//!
//! Reads what a peer sends once its end has come, which is within 8 KiB; what it says is refused with the HTTP status
//! that fits. The subprotocol names the type of the server's socket.

use httparse::{EMPTY_HEADER, Header, Status};

use crate::protocol_id::ProtocolId;
use crate::websocket::WebSocketError;

/// The longest head of a request or response.
pub(crate) const MAX_HEAD: usize = 8 << 10;
/// The most headers in one.
const MAX_HEADERS: usize = 64;
/// The longest text of a peer that we keep.
const MAX_TEXT: usize = 256;

/// What the name of a socket type ends with in a subprotocol.
const SUFFIX: &str = ".sp.nanomsg.org";
/// What RFC 6455 has a server add to a key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes of a key.
const KEY: usize = 16;

/// The types of sockets that a server may have, each with that of its clients.
const TYPES: [(ProtocolId, ProtocolId); 11] = [
    (ProtocolId::PAIR, ProtocolId::PAIR),
    (ProtocolId::PAIR1, ProtocolId::PAIR1),
    (ProtocolId::PUB, ProtocolId::SUB),
    (ProtocolId::SUB, ProtocolId::PUB),
    (ProtocolId::REQ, ProtocolId::REP),
    (ProtocolId::REP, ProtocolId::REQ),
    (ProtocolId::PUSH, ProtocolId::PULL),
    (ProtocolId::PULL, ProtocolId::PUSH),
    (ProtocolId::SURVEYOR, ProtocolId::RESPONDENT),
    (ProtocolId::RESPONDENT, ProtocolId::SURVEYOR),
    (ProtocolId::BUS, ProtocolId::BUS),
];

/// The type of socket at the other end.
pub(crate) fn counterpart(id: ProtocolId) -> Option<ProtocolId> {
    TYPES.iter().find(|(server, _)| *server == id).map(|(_, client)| *client)
}

/// The type of socket that a subprotocol names.
fn named(subprotocol: &str) -> Option<ProtocolId> {
    let name = subprotocol.strip_suffix(SUFFIX)?;
    TYPES.iter().map(|(id, _)| *id).find(|id| id.name() == Some(name))
}

/// The subprotocol of a server's socket.
fn subprotocol(server: ProtocolId) -> String {
    format!("{}{SUFFIX}", server.name().unwrap_or_default())
}

/// A head that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    is_request: bool,
}

impl Head {
    /// `request`: else it is a response.
    pub(crate) fn new(is_request: bool) -> Self {
        Self { bytes: Vec::new(), is_request }
    }

    /// Takes bytes off the front of `input`, up to the end of the head. Returns the head once it is whole.
    ///
    /// # Errors
    ///
    /// It is too long, or does not begin as HTTP does, which is known at the first wrong byte.
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<&[u8]>, WebSocketError> {
        let room = MAX_HEAD.saturating_sub(self.bytes.len());
        let more = input.get(..room).unwrap_or(input);
        // The end may have begun in the piece before.
        let seen = self.bytes.len().saturating_sub(3);
        self.bytes.extend_from_slice(more);
        let unseen = self.bytes.get(seen..).unwrap_or_default();
        let end = unseen.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            *input = input.get(more.len()..).unwrap_or_default();
            self.check_beginning()?;
            return match self.bytes.len() {
                MAX_HEAD.. => Err(WebSocketError::HeadTooLong(MAX_HEAD)),
                _ => Ok(None),
            };
        };
        let len = seen.saturating_add(end).saturating_add(4);
        let behind = self.bytes.len().saturating_sub(len);
        let taken = more.len().saturating_sub(behind);
        *input = input.get(taken..).unwrap_or_default();
        self.bytes.truncate(len);
        self.check_beginning()?;
        Ok(Some(&self.bytes))
    }

    /// A request begins with a method, a response with the protocol.
    fn check_beginning(&self) -> Result<(), WebSocketError> {
        let is_good = if self.is_request {
            let mut method = self.bytes.iter().take(8).take_while(|byte| **byte != b' ');
            method.all(u8::is_ascii_uppercase) && self.bytes.first() != Some(&b' ')
        } else {
            b"HTTP/1.".iter().zip(&self.bytes).all(|(wanted, byte)| wanted == byte)
        };
        if is_good { Ok(()) } else { Err(WebSocketError::NotHttp) }
    }
}

/// A request that may be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpgradeRequest {
    /// Without a query.
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) origin: Option<String>,
    /// The types of the server's socket that the client can talk to, at least one, as it likes them best.
    pub(crate) servers: Vec<ProtocolId>,
    /// The answer to its key.
    accept: String,
}

impl UpgradeRequest {
    /// Reads the head of a request.
    pub(crate) fn parse(head: &[u8]) -> Result<Self, WebSocketError> {
        // NNG asks for nothing where its address has no path.
        let mended =
            head.strip_prefix(b"GET  HTTP/").map(|rest| [&b"GET / HTTP/"[..], rest].concat());
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        whole(request.parse(mended.as_deref().unwrap_or(head)))?;
        let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
        else {
            return Err(WebSocketError::NotHttp);
        };
        if method != "GET" {
            return Err(WebSocketError::Method);
        }
        let headers = Headers(request.headers);
        if headers.any("transfer-encoding") || headers.values("content-length").any(|n| n != "0") {
            return Err(WebSocketError::Body);
        }
        let host = headers.only("host").ok_or(WebSocketError::Host)?;
        headers.check_upgrade()?;
        if headers.only("sec-websocket-version") != Some("13") {
            return Err(WebSocketError::Version);
        }
        let key = headers.only("sec-websocket-key").filter(|key| is_key(key));
        let accept = accept(key.ok_or(WebSocketError::Key)?);
        if !headers.any("sec-websocket-protocol") {
            return Err(WebSocketError::NoSubprotocol);
        }
        let servers: Vec<_> = headers.tokens("sec-websocket-protocol").filter_map(named).collect();
        if servers.is_empty() {
            return Err(WebSocketError::Subprotocol);
        }
        let origin = match headers.values("origin").count() {
            0 => None,
            // One that is no text, or more than one, is none that is allowed.
            1 => Some(headers.only("origin").unwrap_or_default().to_owned()),
            _ => Some(String::new()),
        };
        Ok(Self {
            path: target.split(['?', '#']).next().unwrap_or_default().to_owned(),
            host: host.to_owned(),
            origin,
            servers,
            accept,
        })
    }

    /// The response that grants it, for a server's socket of this type.
    pub(crate) fn grant(&self, server: ProtocolId) -> Vec<u8> {
        let (accept, subprotocol) = (&self.accept, subprotocol(server));
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        response.into_bytes()
    }

    /// Whether the page that made it may connect: it is on the list, or the list is empty and the page is from this
    /// very host, or no page made it.
    pub(crate) fn check_origin(
        &self,
        allowed: &[String],
        secure: bool,
    ) -> Result<(), WebSocketError> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let is_allowed = if allowed.is_empty() {
            is_same(origin, &self.host, secure)
        } else {
            allowed.iter().any(|one| one == "*" || one.eq_ignore_ascii_case(origin))
        };
        if is_allowed {
            return Ok(());
        }
        Err(WebSocketError::Origin(origin.chars().take(MAX_TEXT).collect()))
    }
}

/// The response that refuses a request for this error, or for asking for another type of socket than the server has,
/// which is then named. Has no text of the peer.
pub(crate) fn refusal(error: Option<&WebSocketError>, server: Option<ProtocolId>) -> Vec<u8> {
    let status = match error {
        Some(WebSocketError::Path) => "404 Not Found",
        Some(WebSocketError::Origin(_)) => "403 Forbidden",
        Some(WebSocketError::Method) => "405 Method Not Allowed\r\nAllow: GET",
        Some(WebSocketError::HeadTooLong(_) | WebSocketError::TooManyHeaders(_)) => {
            "431 Request Header Fields Too Large"
        }
        Some(WebSocketError::Version) => "400 Bad Request\r\nSec-WebSocket-Version: 13",
        _ => "400 Bad Request",
    };
    let server =
        server.map(|server| format!("Sec-WebSocket-Protocol: {}\r\n", subprotocol(server)));
    let server = server.unwrap_or_default();
    format!("HTTP/1.1 {status}\r\n{server}Connection: close\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

/// A client's request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    key: String,
    server: ProtocolId,
}

impl Ask {
    /// Asks for a server's socket of this type. `key`: random bytes.
    pub(crate) fn new(server: ProtocolId, key: [u8; KEY]) -> Self {
        Self { key: base64(&key), server }
    }

    /// The request. `target` is a path, perhaps with a query.
    pub(crate) fn request(&self, target: &str, host: &str) -> Vec<u8> {
        let (key, subprotocol) = (&self.key, subprotocol(self.server));
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        request.into_bytes()
    }

    /// Reads the head of the response. Returns the type of the server's socket, which is not what was asked for if the
    /// server has refused and said so.
    pub(crate) fn answer(&self, head: &[u8]) -> Result<ProtocolId, WebSocketError> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        whole(response.parse(head))?;
        let (Some(status), Some(1)) = (response.code, response.version) else {
            return Err(WebSocketError::NotHttp);
        };
        let headers = Headers(response.headers);
        let told = headers.only("sec-websocket-protocol");
        if status != 101 {
            let other = told.and_then(named).filter(|told| *told != self.server && status == 400);
            return other.ok_or(WebSocketError::Status(status));
        }
        headers.check_upgrade()?;
        if headers.only("sec-websocket-accept") != Some(accept(&self.key).as_str()) {
            return Err(WebSocketError::Accept);
        }
        if headers.any("sec-websocket-extensions") {
            return Err(WebSocketError::Extension);
        }
        match told.and_then(named) {
            Some(server) if server == self.server => Ok(server),
            _ => Err(WebSocketError::Subprotocol),
        }
    }
}

/// A parsed head must be whole, since its end has come.
fn whole(parsed: httparse::Result<usize>) -> Result<(), WebSocketError> {
    match parsed {
        Ok(Status::Complete(_)) => Ok(()),
        Ok(Status::Partial) => Err(WebSocketError::NotHttp),
        Err(httparse::Error::TooManyHeaders) => Err(WebSocketError::TooManyHeaders(MAX_HEADERS)),
        Err(_) => Err(WebSocketError::NotHttp),
    }
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of all headers of this name; one that is no text is empty.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let these = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        these.map(|header| std::str::from_utf8(header.value).unwrap_or_default().trim())
    }

    fn any(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of the only header of this name.
    fn only(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values(name);
        values.next().filter(|value| !value.is_empty() && values.next().is_none())
    }

    /// The values of a list, which may be in several headers.
    fn tokens(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.values(name).flat_map(|list| list.split(',')).map(str::trim)
    }

    fn check_upgrade(&self) -> Result<(), WebSocketError> {
        let has = |name: &str, token: &str| {
            self.tokens(name).any(|value| value.eq_ignore_ascii_case(token))
        };
        if has("upgrade", "websocket") && has("connection", "upgrade") {
            Ok(())
        } else {
            Err(WebSocketError::NoUpgrade)
        }
    }
}

/// Whether a page's origin is that of the host that it asks for, whose port is that of the scheme if it is not named.
fn is_same(origin: &str, host: &str, secure: bool) -> bool {
    let (scheme, port) = if secure { ("https", ":443") } else { ("http", ":80") };
    let Some((its_scheme, its_host)) = origin.split_once("://") else { return false };
    let strip = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    its_scheme.eq_ignore_ascii_case(scheme) && strip(its_host) == strip(host)
}

/// Whether this is base64 of as many bytes as a key has.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.bytes().all(is_digit)
}

/// The answer to a key.
fn accept(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID.as_bytes());
    base64(&hash.digest().bytes())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let three = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(three >> shift & 63).unwrap_or_default();
            let digit = DIGITS.get(digit).filter(|_| at <= chunk.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

/// Feeds `data` to the readers of a request and of a response, whole and in pieces. Checks that they agree, that
/// nothing of a peer's text can end a line of ours, and that what is granted is what was asked for.
///
/// # Panics
///
/// Panics when something is wrong.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let [cut, stream @ ..] = data else { return };
    for is_request in [true, false] {
        let read = |size: usize| {
            let (mut head, mut rest) = (Head::new(is_request), stream);
            let mut chunks = stream.chunks(size);
            loop {
                let Some(mut chunk) = chunks.next() else { return (None, rest.len()) };
                let before = chunk.len();
                let taken = head.take(&mut chunk).map(|head| head.map(<[u8]>::to_vec));
                rest = &rest[before - chunk.len()..];
                match taken {
                    Ok(None) => assert!(chunk.is_empty()),
                    Ok(Some(head)) => return (Some(Ok(head)), rest.len()),
                    Err(error) => return (Some(Err(error)), 0),
                }
            }
        };
        let whole = read(usize::MAX);
        assert_eq!(whole, read(usize::from(*cut) + 1));
        let (Some(Ok(head)), _) = whole else { continue };
        assert!(head.len() <= MAX_HEAD && head.ends_with(b"\r\n\r\n"));
        if !is_request {
            let _ = Ask::new(ProtocolId::REP, [0; 16]).answer(&head);
            continue;
        }
        match UpgradeRequest::parse(&head) {
            Ok(request) => {
                let _ = request.check_origin(&[], false);
                let server = request.servers[0];
                let grant = String::from_utf8(request.grant(server)).expect("it is text");
                assert_eq!(grant.matches("\r\n").count(), 6);
            }
            Err(error) => assert!(refusal(Some(&error), None).starts_with(b"HTTP/1.1 4")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rounds::rounds;

    /// A good request with these lines in place of those of the same names, or without them if they end with a colon.
    fn request_with(line: &str, lines: &[&str]) -> Vec<u8> {
        let mut all = vec![
            "Host: h:5555",
            "Upgrade: websocket",
            "Connection: keep-alive, Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: rep.sp.nanomsg.org",
        ];
        for line in lines {
            let name = line.split(':').next().unwrap();
            all.retain(|other| other.split(':').next() != Some(name));
            if !line.ends_with(':') {
                all.push(line);
            }
        }
        format!("{line}\r\n{}\r\n\r\n", all.join("\r\n")).into_bytes()
    }

    fn request(lines: &[&str]) -> Result<UpgradeRequest, WebSocketError> {
        UpgradeRequest::parse(&request_with("GET /a?b=c HTTP/1.1", lines))
    }

    /// C315: W1, W3, W6.
    #[test]
    fn a_good_request_is_granted() {
        let good = request(&[]).unwrap();
        assert_eq!((&*good.path, &*good.host, &good.origin), ("/a", "h:5555", &None));
        assert_eq!(good.servers, [ProtocolId::REP]);
        let grant = String::from_utf8(good.grant(ProtocolId::REP)).unwrap();
        assert!(grant.starts_with("HTTP/1.1 101 "));
        assert!(grant.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(grant.contains("\r\nSec-WebSocket-Protocol: rep.sp.nanomsg.org\r\n"));

        let several =
            request(&["Sec-WebSocket-Protocol: chat, rep.sp.nanomsg.org,pub.sp.nanomsg.org"]);
        assert_eq!(several.unwrap().servers, [ProtocolId::REP, ProtocolId::PUB]);
        request(&["Upgrade: WebSocket", "Connection: UPGRADE"]).unwrap();
        request(&["Sec-WebSocket-Extensions: permessage-deflate"]).unwrap();
    }

    /// C622: what NNG 1.5 sends where its address has no path.
    #[test]
    fn a_request_for_nothing_is_one_for_the_root() {
        assert_eq!(UpgradeRequest::parse(&request_with("GET  HTTP/1.1", &[])).unwrap().path, "/");
        for line in ["GET   HTTP/1.1", "GET HTTP/1.1", "GET  HTTP/1.0", "POST  HTTP/1.1"] {
            assert!(UpgradeRequest::parse(&request_with(line, &[])).is_err(), "{line}");
        }
    }

    /// C315: W4, W5; C321; J9.
    #[test]
    fn each_fault_of_a_request_has_its_error_and_status() {
        let many: Vec<String> = (0..60).map(|n| format!("X-{n}: 1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let table: [(&[&str], WebSocketError, &str); 17] = [
            (&["Sec-WebSocket-Protocol:"], WebSocketError::NoSubprotocol, "400"),
            (&["Sec-WebSocket-Protocol: chat"], WebSocketError::Subprotocol, "400"),
            (&["Sec-WebSocket-Protocol: REP.sp.nanomsg.org"], WebSocketError::Subprotocol, "400"),
            (&["Sec-WebSocket-Version: 8"], WebSocketError::Version, "400"),
            (&["Sec-WebSocket-Version:"], WebSocketError::Version, "400"),
            (&["Sec-WebSocket-Key:"], WebSocketError::Key, "400"),
            (&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"], WebSocketError::Key, "400"),
            (&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!=="], WebSocketError::Key, "400"),
            (&["Upgrade:"], WebSocketError::NoUpgrade, "400"),
            (&["Connection: close"], WebSocketError::NoUpgrade, "400"),
            (&["Host:"], WebSocketError::Host, "400"),
            (&["Content-Length: 1"], WebSocketError::Body, "400"),
            (&["Transfer-Encoding: chunked"], WebSocketError::Body, "400"),
            (&["X y: 1"], WebSocketError::NotHttp, "400"),
            (&["X: \0"], WebSocketError::NotHttp, "400"),
            (&["X-Host: a\r\nHost: b"], WebSocketError::Host, "400"),
            (&many, WebSocketError::TooManyHeaders(64), "431"),
        ];
        for (lines, error, status) in table {
            assert_eq!(request(lines), Err(error.clone()), "{lines:?}");
            let refusal = String::from_utf8(refusal(Some(&error), None)).unwrap();
            assert_eq!(&refusal[9..12], status, "{refusal}");
        }
        let lines = [
            ("POST / HTTP/1.1", WebSocketError::Method),
            ("GET / HTTP/1.0", WebSocketError::NotHttp),
            ("GET / HTTP/2.0", WebSocketError::NotHttp),
            ("GET /", WebSocketError::NotHttp),
        ];
        for (line, error) in lines {
            assert_eq!(UpgradeRequest::parse(&request_with(line, &[])), Err(error), "{line}");
        }
        let version = String::from_utf8(refusal(Some(&WebSocketError::Version), None)).unwrap();
        assert!(version.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }

    /// J9: at the caps, and at the first wrong byte.
    #[test]
    fn a_head_ends_or_is_refused_at_its_limit() {
        let good = request_with("GET / HTTP/1.1", &[]);
        let stream = [&good[..], b"\x82\x80"].concat();
        for size in 1..stream.len() {
            let mut head = Head::new(true);
            let mut taken = None;
            let mut rest = Vec::new();
            for mut chunk in stream.chunks(size) {
                if taken.is_none() {
                    taken = head.take(&mut chunk).unwrap().map(<[u8]>::to_vec);
                }
                rest.extend_from_slice(chunk);
            }
            assert_eq!((taken.as_ref(), &rest[..]), (Some(&good), &b"\x82\x80"[..]), "{size}");
        }
        let endless = [&good[..good.len() - 2], &[b'a'; MAX_HEAD]].concat();
        let too_long = Err(WebSocketError::HeadTooLong(MAX_HEAD));
        assert_eq!(Head::new(true).take(&mut &endless[..]), too_long);
        for garbage in [&b"\0SP\0\0\x30\0\0"[..], b"\x16\x03\x01", b"get ", b" GET", b"SSH-2.0-x"] {
            assert_eq!(Head::new(true).take(&mut &garbage[..]), Err(WebSocketError::NotHttp));
        }
        assert_eq!(Head::new(false).take(&mut &b"\0SP"[..]), Err(WebSocketError::NotHttp));
        assert_eq!(Head::new(false).take(&mut &b"HTT"[..]), Ok(None));
    }

    /// C315: W2.
    #[test]
    fn a_client_asks_and_reads_the_answer() {
        let ask = Ask::new(ProtocolId::REP, *b"the sample nonce");
        let text = String::from_utf8(ask.request("/a", "h:5555")).unwrap();
        assert!(text.starts_with("GET /a HTTP/1.1\r\nHost: h:5555\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Protocol: rep.sp.nanomsg.org\r\n"));
        let request = UpgradeRequest::parse(text.as_bytes()).unwrap();
        assert_eq!(ask.answer(&request.grant(ProtocolId::REP)), Ok(ProtocolId::REP));

        let grant = String::from_utf8(request.grant(ProtocolId::REP)).unwrap();
        let changed = |from: &str, to: &str| {
            let changed = grant.replace(from, to);
            assert_ne!(changed, grant);
            ask.answer(changed.as_bytes())
        };
        assert_eq!(changed("s3pP", "s3pQ"), Err(WebSocketError::Accept));
        assert_eq!(changed("Upgrade: websocket", "Upgrade: h2c"), Err(WebSocketError::NoUpgrade));
        assert_eq!(changed("n: Upgrade", "n: close"), Err(WebSocketError::NoUpgrade));
        assert_eq!(changed("rep.sp", "pub.sp"), Err(WebSocketError::Subprotocol));
        assert_eq!(changed("-Protocol", "-Nothing"), Err(WebSocketError::Subprotocol));
        let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:";
        assert_eq!(changed("Upgrade:", extension), Err(WebSocketError::Extension));
        assert_eq!(changed("101", "200"), Err(WebSocketError::Status(200)));
        assert_eq!(changed("HTTP/1.1", "HTTP/1.0"), Err(WebSocketError::NotHttp));

        // A server of this crate says what it has instead.
        let misfit = refusal(None, Some(ProtocolId::PAIR));
        assert_eq!(ask.answer(&misfit), Ok(ProtocolId::PAIR));
        let refused = |error: WebSocketError| ask.answer(&refusal(Some(&error), None));
        assert_eq!(refused(WebSocketError::Path), Err(WebSocketError::Status(404)));
        assert_eq!(
            refused(WebSocketError::Origin(String::new())),
            Err(WebSocketError::Status(403))
        );
    }

    #[test]
    fn pages_of_the_same_origin_or_on_the_list_may_connect() {
        let allows = |origin: &str, host: &str, list: &[&str], secure| {
            let (origin, host) = (format!("Origin: {origin}"), format!("Host: {host}"));
            let list: Vec<String> = list.iter().map(|&one| one.to_owned()).collect();
            request(&[&origin, &host]).unwrap().check_origin(&list, secure).is_ok()
        };
        for (origin, host, secure) in [
            ("http://h:5555", "h:5555", false),
            ("http://H", "h:80", false),
            ("http://h:80", "h", false),
            ("https://h", "h:443", true),
            ("http://[::1]:90", "[::1]:90", false),
        ] {
            assert!(allows(origin, host, &[], secure), "{origin} {host}");
        }
        for (origin, host, secure) in [
            ("http://h", "h:5555", false),
            ("https://h:5555", "h:5555", false),
            ("http://h:5555", "h:5555", true),
            ("http://evil.example", "h:5555", false),
            ("http://h.evil.example:5555", "h:5555", false),
            ("null", "h:5555", false),
            ("file://", "h:5555", false),
        ] {
            assert!(!allows(origin, host, &[], secure), "{origin} {host}");
        }
        let list = ["https://one.example", "https://two.example:8443"];
        assert!(allows("https://two.example:8443", "h:5555", &list, false));
        assert!(!allows("http://h:5555", "h:5555", &list, false), "only those on the list");
        assert!(!allows("https://one.example:8443", "h:5555", &list, false));
        assert!(allows("null", "h:5555", &["*"], false));
        let twice = request(&["Origin: http://h:5555\r\nOrigin: http://h:5555"]).unwrap();
        assert!(twice.check_origin(&[], false).is_err());
        assert!(request(&[]).unwrap().check_origin(&["https://one.example".into()], false).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(rounds(256)))]

        #[test]
        fn arbitrary_heads_never_panic(
            cut: u8,
            faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            text in ".*",
        ) {
            let line = format!("X: {text}");
            let good = [
                request_with("GET / HTTP/1.1", &[&line]),
                UpgradeRequest::parse(&request_with("GET / HTTP/1.1", &[])).unwrap().grant(ProtocolId::REP),
                text.clone().into_bytes(),
            ];
            for stream in good {
                let mut data = [&[cut][..], &stream].concat();
                for (at, byte) in &faults {
                    let at = at.index(data.len());
                    data[at] = *byte;
                }
                fuzz(&data);
            }
        }
    }
}
