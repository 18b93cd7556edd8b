//! Calls that a socket lacks and people look for: the compiler says what it has in their place.
//!
//! Owns texts only. None of these methods can be called: each asks for a trait that nothing implements, so
//! that a program which tries does not compile, and its author reads the sentence given here.

use super::*;

/// Gives a socket a hidden method that never compiles where it is called, with the reason as the message.
///
/// The lifetime keeps the bound from being judged here: without a parameter in it, it would be refused where
/// it is written instead of where the method is called.
macro_rules! missing_calls {
    ($($owner:ty: $($call:ident($($argument:tt)*))|+ => $instead:literal;)*) => {$(
        const _: () = {
            #[diagnostic::on_unimplemented(
                message = $instead,
                label = "there is no such call"
            )]
            pub trait Offered {}

            impl $owner {$(
                #[doc(hidden)]
                pub fn $call<'a>(&'a self, $($argument: impl Sized)*)
                where
                    &'a Self: Offered,
                {
                }
            )+}
        };
    )*};
}

missing_calls! {
    Req: send(_) | try_send(_) | send_async(_) =>
        "a `Req` sends with `request`, which returns the reply; `context` has `send` and `recv` apart";
    Req: recv() | try_recv() | recv_async() =>
        "a `Req` gets each reply from the `request` it belongs to; `context` has `send` and `recv` apart";
    Rep: send(_) | try_send(_) | send_async(_) =>
        "a `Rep` answers with `reply` on the `Request` that `recv` returns";
    Respondent: send(_) | try_send(_) | send_async(_) =>
        "a `Respondent` answers with `reply` on the `Question` that `recv` returns";
    Surveyor: send(_) | try_send(_) | send_async(_) =>
        "a `Surveyor` asks with `survey`, which returns a `Survey` that yields the answers";
    Surveyor: recv() | try_recv() | recv_async() =>
        "a `Surveyor` gets its answers from the `Survey` that `survey` returns";
    Pub: recv() | try_recv() | recv_async() =>
        "a `Pub` only sends; a `Sub` receives what it publishes";
    Push: recv() | try_recv() | recv_async() =>
        "a `Push` only sends; a `Pull` receives what it sends";
    Sub: send(_) | try_send(_) | send_async(_) =>
        "a `Sub` only receives; a `Pub` sends to it";
    Pull: send(_) | try_send(_) | send_async(_) =>
        "a `Pull` only receives; a `Push` sends to it";
}
