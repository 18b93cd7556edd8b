//! The C interface, used from C: programs that gcc compiles, and programs of other projects that are given our
//! library in place of nanomsg's.
//!
//! Where gcc or a package is missing its tests say so and pass, except with `CI=true` in the environment: then they
//! fail. `ci/capi` has what takes longer: bindings of other languages, Valgrind, and the throughput.

#![cfg(target_os = "linux")]

mod differential;
mod ends;
mod examples;
mod header;
mod programs;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The folder of this package.
fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a program can be started. Says so if not.
fn has(program: &str) -> bool {
    let started =
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = started.is_ok();
    if !found {
        missing(program);
    }
    found
}

/// Says that a test is skipped, or fails it.
fn missing(what: &str) {
    assert!(env::var_os("CI").is_none(), "{what} is missing; .ci/run installs it");
    eprintln!("SKIPPED: {what} is missing");
}

/// A folder with our library under the names by which programs and linkers look for it.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = env::current_exe().expect("a test knows its own path");
        let deps = test.parent().expect("tests are in target/PROFILE/deps");
        let built =
            [deps, deps.parent().expect("likewise")].map(|folder| folder.join("libnanomsg.so"));
        let built = built
            .into_iter()
            .find(|path| path.exists())
            .expect("the library is built with its tests");
        let folder = deps.join("capi-library");
        fs::create_dir_all(&folder).unwrap();
        for name in ["libnanomsg.so", "libnanomsg.so.5"] {
            let link = folder.join(name);
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&built, &link).unwrap();
        }
        folder
    })
}

/// Compiles a program against our headers and library, and returns it. `None`: there is no compiler.
fn compile(source: &str) -> Option<PathBuf> {
    if !has("gcc") {
        return None;
    }
    static COMPILED: AtomicUsize = AtomicUsize::new(0);
    let source = here().join(source);
    let name = source.file_stem().expect("it is a file").to_string_lossy();
    // Of its own for each test: a program that runs cannot be written.
    let program = library().join(format!("{name}-{}", COMPILED.fetch_add(1, Ordering::Relaxed)));
    let compiled = Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-I"])
        .arg(here().join("include"))
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .arg("-L")
        .arg(library())
        .arg("-lnanomsg")
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(program)
}

/// A command that finds our library where it looks for nanomsg's.
fn with_ours(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", library());
    command
}

/// Runs a program that must end by itself.
fn run(command: &mut Command) -> Output {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let (done, is_done) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _ = done.send(());
        output
    });
    let (begin, longest) = (Instant::now(), Duration::from_secs(180));
    if is_done.recv_timeout(longest).is_err() {
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        let output = waiting.join().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        panic!("it hangs after {:?}, having said: {said}", begin.elapsed());
    }
    waiting.join().unwrap()
}

/// Runs a program that must end well, and returns what it has written.
fn said(command: &mut Command) -> String {
    let output = run(command);
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{errors}", output.status);
    said.into_owned()
}
