//! The driver and its connections.
//!
//! Takes connections on, registers them with the poll, lets them act and does what follows, and tells the
//! maker of one what has become of it. Touches everything that the driver owns; of a connection only the
//! public part.

use std::time::Duration;

use mio::{Interest, Token};

use super::{Connection, Ending, Fate, Maker};
use crate::error::AttemptError;
use crate::io::loops::HOME;
use crate::io::{Command, Driver, LoopContext, quota};
use crate::pipe::Host;
use crate::pipe::endpoint::EndpointCore;
use crate::sync::{Arc, Weak};
use crate::time;
use crate::transport::Stream;
use crate::wire::Framing;

impl Driver {
    /// Gives an accepted connection to a loop. `last` and the result: see
    /// [`Loops::choose`](super::loops::Loops::choose).
    pub(in crate::io) fn give(&mut self, last: usize, connection: Connection) -> usize {
        let chosen = self.choose(last, &connection.endpoint.host);
        match self.loops.other(chosen) {
            None => self.adopt(Box::new(connection)),
            Some(mailbox) => mailbox.post(Command::Adopt(Box::new(connection))),
        }
        chosen
    }

    /// Begins a connection that the program has given to an endpoint.
    pub(in crate::io) fn serve(
        &mut self,
        host: &Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        framing: Framing,
        stream: Box<dyn Stream>,
    ) {
        let Some(host) = host.upgrade() else { return };
        // The command to forget the endpoint may have overtaken this one.
        if !endpoint.is_closed() {
            self.give(HOME, Connection::new(&host, endpoint, framing, stream, Maker::Program));
        }
    }

    /// Begins a connection that was accepted or given, and so is established.
    pub(in crate::io) fn adopt(&mut self, connection: Box<Connection>) {
        let token = self.take_on(connection);
        let is_behind = self.line_up(token);
        self.watch(token);
        self.drive(token, |connection, cx| match connection.may_keep_bytes_back() {
            true => connection.begin(is_behind, token, cx),
            false => connection.greet(is_behind, token, cx),
        });
        self.join_crowd(token);
    }

    /// Owns a connection from now on.
    pub(in crate::io) fn take_on(&mut self, mut connection: Box<Connection>) -> Token {
        connection.is_member = true;
        let endpoint = connection.endpoint.id;
        let token = self.connections.insert(connection);
        self.members.add(endpoint, token);
        token
    }

    /// Registers a connection with the poll.
    pub(in crate::io) fn watch(&mut self, token: Token) {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.drive(token, |connection, cx| match connection.source() {
            Some(source) => match cx.mailbox.registry.register(source, token, both) {
                Ok(()) => Fate::Keep,
                Err(error) => Fate::End(Ending::Failed(error.into())),
            },
            None => Fate::Keep,
        });
    }

    /// Lets a connection do something, and does what follows from its fate.
    pub(in crate::io) fn drive(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut Connection, &mut LoopContext) -> Fate,
    ) {
        let Some(connection) = self.connections.get(token) else { return };
        match act(connection, &mut self.cx) {
            Fate::Keep => {}
            Fate::Established => self.stands(token),
            Fate::Again => {
                connection.is_unread = true;
                let little = connection.reads_little && connection.is_open();
                // It may also have just become a pipe.
                self.opened(token);
                self.queue(token, little);
            }
            Fate::WriteAgain => self.queue(token, false),
            Fate::Opened => self.opened(token),
            Fate::Offered(in_line) => self.lines.mark_due(in_line.socket),
            Fate::HoldBack(departed) => {
                self.batching.hold_back(token, departed, time::now());
            }
            Fate::End(ending) => self.end(token, ending),
        }
    }

    /// If the connection has just become a pipe, leaves it to the socket, and tells its dialer.
    fn opened(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        if !connection.is_open() || !std::mem::take(&mut connection.is_member) {
            return;
        }
        let (maker, in_line) = (connection.maker, connection.in_line.as_deref().copied());
        let endpoint = connection.endpoint.id;
        self.members.remove(endpoint, token);
        if let Some(in_line) = in_line {
            self.lines.attached(in_line);
        }
        if maker == Maker::Listener {
            self.set_crowd_timer(endpoint);
        }
        let Maker::Race(race) = maker else { return };
        let Some(dialer) = self.call_off(race) else { return };
        if let Some(connection) = self.connections.get(token) {
            connection.maker = Maker::Dialer(dialer);
        }
        match self.loops.other(HOME) {
            None => self.on_dialer_connected(dialer),
            Some(home) => home.post(Command::Connected(dialer)),
        }
    }

    /// Closes a pipe for the socket. If a dialer made it, the dialer does not wait for the last byte.
    pub(in crate::io) fn close_pipe(&mut self, token: Token, linger: Duration) {
        let Some(connection) = self.connections.get(token).filter(|it| it.is_open()) else {
            return;
        };
        let maker = std::mem::replace(&mut connection.maker, Maker::Listener);
        let endpoint = Arc::clone(&connection.endpoint);
        self.drive(token, |connection, cx| connection.close(linger, token, cx));
        // Afterwards: what is queued is written now, or not at all if it may not linger.
        self.cx.quota.count(quota::CLOSE);
        match maker {
            Maker::Dialer(dialer) => self.tell_of_the_end(dialer, Ending::Closed),
            Maker::Program => endpoint.on_connection_over(None),
            Maker::Listener | Maker::Race(_) => {}
        }
    }

    /// Ends a connection, and tells its maker.
    pub(in crate::io) fn end(&mut self, token: Token, ending: Ending) {
        let Some(mut connection) = self.let_go(token) else { return };
        let (maker, endpoint) = (connection.maker, Arc::clone(&connection.endpoint));
        let meaning = connection.meaning_of(&ending);
        connection.end(&ending, &mut self.cx);
        drop(connection);
        self.loops.on_connection_over();
        let ending = meaning.unwrap_or(ending);
        match maker {
            Maker::Listener => self.set_crowd_timer(endpoint.id),
            Maker::Program => endpoint.on_connection_over(failure(ending)),
            Maker::Race(race) => self.fell_out(race, token, ending),
            Maker::Dialer(dialer) => self.tell_of_the_end(dialer, ending),
        }
    }

    /// Takes a connection out of all lists but the count of those on this loop, if it is still there.
    pub(in crate::io) fn let_go(&mut self, token: Token) -> Option<Box<Connection>> {
        let connection = self.connections.remove(token)?;
        if connection.is_member {
            self.members.remove(connection.endpoint.id, token);
        }
        if let Some(&in_line) = connection.in_line.as_deref() {
            self.lines.leave(in_line, token);
        }
        self.on_gone();
        Some(connection)
    }
}

/// What an ending says of the only attempt that there was.
fn failure(ending: Ending) -> Option<AttemptError> {
    match ending {
        Ending::Failed(error) => Some(error),
        Ending::Rejected => Some(AttemptError::Rejected),
        Ending::TurnedAway(peer) => Some(AttemptError::TurnedAway { peer, greeted: true }),
        Ending::Lost(_) | Ending::Served | Ending::Closed | Ending::Elsewhere => None,
    }
}
