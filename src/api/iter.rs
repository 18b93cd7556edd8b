//! Iterators over what a socket receives, as the receivers of the standard library's channels have them.
//!
//! Owns the three iterators. Each is a socket, or a reference to one, and the call that its `next`
//! makes; what a socket yields is said by `iter_calls!` where its calls are made.

/// Yields what a socket receives, waiting for each, until the socket is closed.
///
/// Made by `iter()`, or by a `for` loop over a reference to the socket. The receive timeout has no effect.
/// Several may be in use at once, on any threads; each thing received goes to one of them. Dropping it
/// changes nothing: nothing is taken out of the socket before `next` is called.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is received before it is asked for the next"]
pub struct Iter<'a, S>(&'a S);

/// Yields what a socket has received already, without waiting: ends when there is nothing at the moment,
/// or when the socket is closed. May yield again later.
///
/// Made by `try_iter()`.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is received before it is asked for the next"]
pub struct TryIter<'a, S>(&'a S);

/// Yields what a socket receives, waiting for each, until the socket is closed. Has a handle of the
/// socket, and so keeps it open.
///
/// Made by `into_iter()`, or by a `for` loop over the socket itself. Otherwise as [`Iter`].
#[derive(Clone, Debug)]
#[must_use = "nothing is received before it is asked for the next"]
pub struct IntoIter<S>(S);

/// Gives what has a `try_recv` its `try_iter`.
macro_rules! try_iter_calls {
    ($socket:ty, $item:ty) => {
        impl $socket {
            /// Iterates over what is there now, without waiting: ends where `try_recv` fails.
            pub fn try_iter(&self) -> crate::api::iter::TryIter<'_, Self> {
                crate::api::iter::TryIter::of(self)
            }
        }

        impl Iterator for crate::api::iter::TryIter<'_, $socket> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                self.socket().try_recv().ok()
            }
        }
    };
}

/// Gives a socket that receives its iterators. `$item` is what it yields, `$patient` receives one
/// however long that takes; `try_recv` is there already.
macro_rules! iter_calls {
    ($socket:ty, $item:ty, $patient:expr) => {
        impl $socket {
            /// Iterates over what is received, waiting for each, until the socket is closed. The
            /// receive timeout has no effect.
            ///
            /// What has been received is not given back when the iterator is dropped, and nothing is
            /// received ahead.
            pub fn iter(&self) -> crate::api::iter::Iter<'_, Self> {
                crate::api::iter::Iter::of(self)
            }
        }

        impl Iterator for crate::api::iter::Iter<'_, $socket> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                let receive: fn(&$socket) -> Option<$item> = $patient;
                receive(self.socket())
            }
        }

        // A closed socket stays closed.
        impl std::iter::FusedIterator for crate::api::iter::Iter<'_, $socket> {}

        try_iter_calls!($socket, $item);

        impl Iterator for crate::api::iter::IntoIter<$socket> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                crate::api::iter::Iter::of(self.socket()).next()
            }
        }

        impl std::iter::FusedIterator for crate::api::iter::IntoIter<$socket> {}

        impl<'a> IntoIterator for &'a $socket {
            type Item = $item;
            type IntoIter = crate::api::iter::Iter<'a, $socket>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl IntoIterator for $socket {
            type Item = $item;
            type IntoIter = crate::api::iter::IntoIter<$socket>;

            fn into_iter(self) -> Self::IntoIter {
                crate::api::iter::IntoIter::of(self)
            }
        }
    };
}

impl<'a, S> Iter<'a, S> {
    pub(in crate::api) fn of(socket: &'a S) -> Self {
        Self(socket)
    }

    pub(in crate::api) fn socket(&self) -> &'a S {
        self.0
    }
}

impl<'a, S> TryIter<'a, S> {
    pub(in crate::api) fn of(socket: &'a S) -> Self {
        Self(socket)
    }

    pub(in crate::api) fn socket(&self) -> &'a S {
        self.0
    }
}

impl<S> IntoIter<S> {
    pub(in crate::api) fn of(socket: S) -> Self {
        Self(socket)
    }

    pub(in crate::api) fn socket(&self) -> &S {
        &self.0
    }
}

try_iter_calls!(crate::socket::Events, crate::socket::PipeEvent);
