//! Lines: the connections of sockets that have one peer at a time, in the order in which they came.
//!
//! A peer may send, leave and connect again before the driver handles either connection, and the order in
//! which the poll reports them says nothing. So a newcomer that has shown its header waits in its socket's
//! line until the end of the turn. Then the driver reads the connections before it that have got our header,
//! since their peers may have sent messages, and reads that of the present peer until the kernel has nothing
//! more of it. After that it knows what happened before the newcomer connected, and whether the socket has
//! room for it. All connections of such a socket are on one loop.
//!
//! Owns the lines, and knows which of them have a newcomer to decide about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mio::Token;

use super::connection::Standing;
use super::{Driver, address};
use crate::room::GiveBack;

/// The lines of all such sockets of one loop.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By the socket's [`address`](super::address).
    lines: HashMap<usize, Line>,
    /// The sockets in whose line a newcomer has shown its header.
    due: BTreeSet<usize>,
    /// How many have come.
    count: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// The connection that became the socket's pipe last.
    present: Option<Token>,
    newcomers: BTreeMap<u64, Token>,
}

/// The position of a connection in its line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InLine {
    pub(super) socket: usize,
    number: u64,
}

impl Lines {
    /// Puts a connection at the end of its socket's line. Says whether others are before it.
    pub(super) fn enter(&mut self, socket: usize, token: Token) -> (InLine, bool) {
        let line = self.lines.entry(socket).or_default();
        let is_behind = !line.newcomers.is_empty();
        self.count += 1;
        line.newcomers.insert(self.count, token);
        (InLine { socket, number: self.count }, is_behind)
    }

    /// Notes that the connection has become the socket's pipe.
    pub(super) fn attached(&mut self, in_line: InLine) {
        if let Some(line) = self.lines.get_mut(&in_line.socket)
            && let Some(token) = line.newcomers.remove(&in_line.number)
        {
            line.present = Some(token);
        }
    }

    /// Notes that the connection is over.
    pub(super) fn leave(&mut self, in_line: InLine, token: Token) {
        let Some(line) = self.lines.get_mut(&in_line.socket) else { return };
        line.newcomers.remove(&in_line.number);
        line.present.take_if(|present| *present == token);
        if line.present.is_none() && line.newcomers.is_empty() {
            self.lines.remove(&in_line.socket);
            self.lines.give_back();
        }
    }

    /// Notes that a newcomer in the line of `socket` has shown its header.
    pub(super) fn mark_due(&mut self, socket: usize) {
        self.due.insert(socket);
    }

    fn first(&self, socket: usize) -> Option<Token> {
        self.lines.get(&socket)?.newcomers.values().next().copied()
    }

    fn present(&self, socket: usize) -> Option<Token> {
        self.lines.get(&socket)?.present
    }

    fn newcomers(&self, socket: usize) -> Vec<Token> {
        self.lines
            .get(&socket)
            .into_iter()
            .flat_map(|line| line.newcomers.values())
            .copied()
            .collect()
    }
}

/// What became of the newcomers that have shown their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    All,
    /// It cannot be known yet whether the socket has room for the next one.
    Partly,
}

impl Driver {
    /// Puts a new connection into its socket's line, if the socket has one. Says whether others are before it.
    pub(super) fn line_up(&mut self, token: Token) -> bool {
        let Some(connection) = self.connections.get(token) else { return false };
        let host = &connection.endpoint.host;
        if !host.upgrade().is_some_and(|host| host.is_exclusive()) {
            return false;
        }
        let (in_line, is_behind) = self.lines.enter(address(host), token);
        connection.in_line = Some(Box::new(in_line));
        is_behind
    }

    /// Decides about newcomers. Those about which it cannot decide yet are due again in the next turn, which
    /// any change brings about.
    pub(super) fn decide_about_newcomers(&mut self) {
        for socket in std::mem::take(&mut self.lines.due) {
            if self.decide(socket) == Decided::Partly {
                self.lines.mark_due(socket);
            }
        }
    }

    fn decide(&mut self, socket: usize) -> Decided {
        let Some(first) = self.lines.first(socket) else { return Decided::All };
        // Checked before the others, of which there may be many: it may stay undecided for some time.
        if self.standing(first) == Standing::Undecided || !self.learn_of_the_end(socket) {
            return Decided::Partly;
        }
        // Read all headers that are there, so that nothing that came before a newcomer is unknown.
        let newcomers = self.lines.newcomers(socket);
        for &token in &newcomers {
            self.drive(token, |connection, cx| connection.read_ahead(token, cx));
        }
        // Then decide in the order in which they came.
        for token in newcomers {
            match self.standing(token) {
                Standing::Silent => {}
                Standing::Undecided => return Decided::Partly,
                Standing::Offered => {
                    self.drive(token, |connection, cx| connection.take_place(token, cx));
                    // It may already have left, and made room for the next one.
                    if self.lines.present(socket) == Some(token) && !self.learn_of_the_end(socket) {
                        return Decided::Partly;
                    }
                }
            }
        }
        Decided::All
    }

    /// Reads what the kernel has of the socket's present peer. Says whether it is then known if that peer has
    /// left: not if it has sent more than a turn reads, or than there is room for.
    fn learn_of_the_end(&mut self, socket: usize) -> bool {
        let Some(present) = self.lines.present(socket) else { return true };
        let mut is_known = true;
        self.drive(present, |connection, cx| {
            let (fate, all) = connection.read_out(present, cx);
            is_known = all;
            fate
        });
        is_known
    }

    fn standing(&mut self, token: Token) -> Standing {
        self.connections.get(token).map_or(Standing::Silent, |it| it.standing())
    }
}
