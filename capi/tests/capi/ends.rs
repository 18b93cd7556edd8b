//! The end of a program, and forks: `ends.c`.

use std::time::Duration;

use kit::SOON;
use sinew::Pull;

use crate::{compile, run, said, with_ours};

fn pull() -> (Pull, String) {
    let pull = Pull::new();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    (pull, url)
}

/// Closing, exiting without a close, terminating and closing an endpoint lose nothing that the kernel takes.
#[test]
fn what_was_sent_before_the_end_of_a_program_arrives() {
    let Some(program) = compile("tests/capi/ends.c") else { return };
    for what in ["close", "exit", "term", "shutdown"] {
        let (pull, url) = pull();
        let output = run(with_ours(&program).args([what, &url]));
        assert!(output.status.success(), "{what}: {}", output.status);
        for number in 0..1000_i32 {
            let message =
                pull.recv_timeout(SOON).unwrap_or_else(|error| panic!("{what}, {number}: {error}"));
            assert_eq!(message, number.to_ne_bytes());
        }
        kit::timed_out(pull.recv_timeout(Duration::from_millis(1)));
    }
}

#[test]
fn a_child_is_told_that_its_sockets_are_the_parent_s_and_harms_nobody() {
    let Some(program) = compile("tests/capi/ends.c") else { return };
    let (pull, url) = pull();
    let said = said(with_ours(&program).args(["fork", &url]));
    let of = |own: bool| said.lines().filter(move |line| line.starts_with("own ") == own);
    for line in of(true) {
        assert!(line.ends_with(" ok"), "{said}");
    }
    // A poll says that the socket is ready: its calls fail at once.
    let refused = of(false).filter(|line| !line.starts_with("poll"));
    for line in refused {
        assert!(line.ends_with(" EFORKED"), "{said}");
    }
    assert_eq!((of(true).count(), of(false).count()), (5, 11), "{said}");
    // The parent has sent after its child was gone.
    for number in 0..10_i32 {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), number.to_ne_bytes());
    }
}
