//! The examples of `sinew.h`.

use crate::{compile, said, with_ours};

macro_rules! examples {
    ($($name:ident: $($line:literal)*;)*) => {$(
        #[test]
        fn $name() {
            let source = concat!("examples/", stringify!($name), ".c");
            let Some(program) = compile(source) else { return };
            let said = said(&mut with_ours(program));
            $(assert!(said.lines().any(|line| line.starts_with($line)), "{said}");)*
        }
    )*};
}

examples! {
    pair: "right: ping" "left: pong";
    reqrep: "one: hello one" "two: hello two";
    pipeline: "worker: job";
    pubsub: "weather: weather.sunny" "all: traffic.quiet" "all: weather.sunny";
    survey: "answer: somebody";
    bus: "inproc://bus-1: zero is here" "inproc://bus-2: zero is here";
    monitor: "peer " "1 sent" "1 dropped: no_peer" "gone: the peer closed the connection" "send on ";
}
