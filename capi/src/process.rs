//! The process around the sockets: the runtime that they share, the end of the program, and forks.
//!
//! The runtime is our own rather than the global one, so that it can end: with `nn_term`, when the program exits,
//! and when the library is unloaded.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use sinew::Runtime;

use crate::errno::{EMFILE, Errno};
use crate::{own, table};

/// The runtime, and the process that made it.
static RUNTIME: Mutex<Option<(u32, Runtime)>> = Mutex::new(None);

/// The runtime of all sockets of this process. The first call makes it.
pub(crate) fn runtime() -> Result<Runtime, Errno> {
    let mut current = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    match &*current {
        Some((maker, runtime)) if *maker == process => return Ok(runtime.clone()),
        _ => {}
    }
    // That of the process that this one was forked from is let go, which its drop does by itself.
    let runtime = without_signals(Runtime::new).map_err(|_| EMFILE)?;
    *current = Some((process, runtime.clone()));
    Ok(runtime)
}

/// Runs `act` with all signals blocked, so that the threads that it starts never run a handler of the program: a
/// signal is for the program's threads, and ends the calls that they sleep in.
fn without_signals<T>(act: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the first call fills the one set, the second reads it and fills the other.
    let blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let done = act();
    if blocked {
        // SAFETY: the set was filled above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    done
}

/// Closes all sockets and ends the runtime. Each close hands the kernel what it takes at once. `waits`: for the calls
/// of other threads.
pub(crate) fn end(waits: bool) {
    table::close_all(waits);
    own::close_all();
    let ended = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(ended);
}

/// Runs when the program exits, after its own handlers, and when the library is unloaded.
extern "C" fn at_exit() {
    // What panics here has nobody to tell.
    if let Err(panic) = std::panic::catch_unwind(|| end(false)) {
        std::mem::forget(panic);
    }
}

/// The list of what the loader runs at the end.
// SAFETY: the section has pointers to functions without arguments, and this is one.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;
