//! The layers hold: what a file imports lies on a floor below its own.
//!
//! Reads the paths in `src` that begin with `crate` or `super`, in `use` lines and in code, tests and
//! comments left out, and compares them with [`FLOORS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the library from the bottom up. Each may use what stands above it in this list,
/// and itself.
const FLOORS: &[&str] = &[
    "sync",
    "time",
    "contain",
    "random",
    "sys",
    "body",
    "message",
    "interest",
    "duty",
    "number_map",
    "room",
    "tuning",
    "spin",
    "parker",
    "tls_error",
    "websocket",
    "detach",
    "protocol_id",
    "error",
    "address",
    "stats",
    "verdict",
    "peer",
    "signal",
    "wire",
    "ring",
    "tls",
    "options",
    "pipe",
    "protocol",
    "transport",
    "io",
    "runtime",
    "inproc",
    "socket",
    "api",
    "testing",
    "threads",
    "discovery",
    "typed",
    "last_values",
    "serial",
    "spec",
];

/// The pure layers.
const PURE: &[&str] = &["protocol", "wire"];

/// What the pure layers must not know of: they are given time and bytes as arguments.
const IMPURE: &[&str] = &[
    "std::io",
    "std::net",
    "std::thread",
    "std::sync",
    "std::fs",
    "crate::sync",
    "Instant::now",
    "SystemTime::now",
    "mio::",
];

/// The one module that names `std::sync`.
const DOOR: &str = "sync";

/// Who takes the machine's time, and why.
const CLOCKS: &[(&str, &str)] = &[
    ("src/time.rs", "it is the door"),
    ("src/time/stage.rs", "a simulation begins at some time"),
    ("src/sync/scheduled.rs", "a schedule begins at some time"),
    ("src/spin.rs", "nobody spins in a simulation"),
    ("src/parker.rs", "it measures how long the machine takes to wake a thread"),
    ("src/io/clock.rs", "it sets a timer of the machine, for a runtime that the program drives"),
];

/// The macros that the library defines, and why each is one.
const MACROS: &[(&str, &str, &str)] = &[
    ("src/api/role.rs", "roles", "each role implements the same traits by itself"),
    ("src/contain.rs", "record", "an event has its level and its fields where it is written"),
    ("src/stats.rs", "counters", "fields and text are made of the same list"),
];

/// Where `unsafe` code is, and how many lines of it: T20 of `docs/reliability.md`. A change of them shows here.
const UNSAFE: &[(&str, usize)] =
    &[("src/ring.rs", 98), ("src/sys.rs", 21), ("src/sys/pipes.rs", 12)];

/// How many lines of it there may be.
const UNSAFE_MOST: usize = 300;

/// What takes apart bytes that a peer has written, beside `wire`, whose own head denies the same.
const READERS: &[&str] = &[
    "src/discovery/announcement.rs",
    "src/discovery/wire.rs",
    "src/last_values/wire.rs",
    "src/message.rs",
    "src/protocol/backtrace.rs",
    "src/protocol/pair1.rs",
    "src/protocol/raw.rs",
    "src/tls/mod.rs",
    "src/transport/ws.rs",
    "src/typed/codec.rs",
    "src/typed/format.rs",
    "src/typed/trace.rs",
    "src/wire/mod.rs",
];

/// What they deny: each of these may panic, or go on with a wrong number.
const DENIED: &[&str] =
    &["arithmetic_side_effects", "as_conversions", "expect_used", "indexing_slicing"];

/// The first words of names that ask.
const QUESTIONS: &[&str] =
    &["are", "can", "does", "has", "is", "knows", "lacks", "may", "must", "needs", "wants", "was"];

/// One module's use of another, with the first line that shows it.
type Arrows = BTreeMap<(String, String), String>;

#[test]
fn no_import_runs_up() {
    let arrows = arrows();
    let up: Vec<_> = arrows.iter().filter(|((from, to), _)| floor(to) > floor(from)).collect();
    assert!(up.is_empty(), "these run up: {up:#?}");
}

#[test]
fn what_reads_a_peers_bytes_denies_what_may_panic() {
    let lacks = |path: &&str| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let text = text.expect("a file of the library");
        let head: String = text.lines().take_while(|line| !line.starts_with("use ")).collect();
        !DENIED.iter().all(|lint| head.contains(&format!("clippy::{lint}")))
    };
    let without: Vec<_> = READERS.iter().filter(|path| lacks(path)).collect();
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn the_pure_layers_know_neither_clocks_nor_sockets() {
    let pure = library().into_iter().filter(|file| PURE.contains(&&*file.module[0]));
    let found: Vec<_> = pure.flat_map(|file| file.naming(IMPURE)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The module at the door says what stands in for each in a model, and why not if nothing does.
#[test]
fn nobody_passes_by_the_door_to_std_sync() {
    let by = ["std::sync", "core::sync", "alloc::sync"];
    let outside = library().into_iter().filter(|file| file.module[0] != DOOR);
    let found: Vec<_> = outside.flat_map(|file| file.naming(&by)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// In a simulation the time is not the machine's, so who takes the machine's must be none of its business.
#[test]
fn nobody_passes_by_the_door_to_the_clock() {
    let apart = |file: &Source| CLOCKS.iter().any(|(path, _)| file.path.ends_with(path));
    let outside = library().into_iter().filter(|file| !apart(file));
    let found: Vec<_> = outside.flat_map(|file| file.naming(&["Instant::now"])).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// So each record is an event where the feature `tracing` is on, and a logger that panics ends nothing.
#[test]
fn all_records_go_through_contain() {
    let by = ["contain::log", "log::debug", "log::error", "log::info", "log::log", "log::trace"];
    let outside = library().into_iter().filter(|file| file.module[0] != "contain");
    let found: Vec<_> = outside
        .flat_map(|file| [file.naming(&by), file.naming(&["log::warn", "tracing::event"])])
        .flatten()
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// A function, a generic type or a table says the same, and can be read as it stands.
#[test]
fn nobody_defines_another_macro() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut open) = (Vec::new(), vec![root.join("src")]);
    while let Some(path) = open.pop() {
        // All files, whatever compiles them; `target` has what cargo makes of `src/internals`.
        if path.is_dir() && !path.ends_with("target") {
            open.extend(fs::read_dir(path).expect("a folder").map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let file = path.strip_prefix(root).expect("it is below");
            let macros = text.split("macro_rules! ").skip(1);
            found.extend(macros.map(|rest| (file.to_owned(), heads(rest).remove(0))));
        }
    }
    found.sort();
    let known = MACROS.iter().map(|&(file, name, _)| (PathBuf::from(file), name.to_owned()));
    assert_eq!(found, known.collect::<Vec<_>>());
}

/// Counts the lines on which code stands of an `unsafe` block, function or implementation, from the word to the brace
/// that ends it, and none twice.
#[test]
fn unsafe_code_is_where_it_was_and_no_more() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = library();
    let path = |file: &Source| file.path.strip_prefix(root).expect("it is below").to_owned();
    let counted = files.iter().map(|file| (path(file), file.unsafe_lines()));
    let found: BTreeMap<_, _> = counted.filter(|&(_, lines)| lines > 0).collect();
    let known = UNSAFE.iter().map(|&(file, lines)| (PathBuf::from(file), lines));
    assert_eq!(found, known.collect());
    let all: usize = found.values().sum();
    eprintln!("{all} lines of unsafe code");
    assert!(all <= UNSAFE_MOST, "{all}");

    let (lines, _) = read(
        "#![allow(unsafe_code)]
        unsafe impl Send for A {}
        fn f() {
            let x = unsafe { g({ 1 }) }; // unsafe {
            // SAFETY: none
            unsafe {

                h(); unsafe { i() };
            }
        }
        unsafe fn h(
            a: usize,
        ) -> usize {
            a // }
        }
        fn g() {}",
    );
    let file = Source { path: "here.rs".into(), module: vec!["a".into()], lines };
    assert_eq!(file.unsafe_lines(), 1 + 1 + 3 + 5);
}

/// What is read is named for what it is; `get_mut` is the name that the standard library gives to its own.
#[test]
fn no_function_is_called_get() {
    let found: Vec<_> = library().iter().flat_map(|file| file.lines_with(is_getter)).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(is_getter("    pub fn get_size(&self) -> usize {"));
    assert!(
        !is_getter("    pub(super) fn get_mut(&mut self) {") && !is_getter("a.get_or_insert(b)")
    );
}

fn is_getter(line: &str) -> bool {
    line.split_once("fn get_").is_some_and(|(_, name)| !name.starts_with("mut("))
}

/// A name that asks, as `is_closed` does, promises that a call changes nothing, and brings an answer.
#[test]
fn what_sounds_like_a_question_answers() {
    let found: Vec<_> = library().iter().flat_map(Source::questions_that_act).collect();
    assert!(found.is_empty(), "these act, or answer nothing: {found:#?}");
    let acting = |code: &str| {
        let (lines, _) = read(code);
        let file = Source { path: "here.rs".into(), module: vec!["a".into()], lines };
        file.questions_that_act().len()
    };
    let answers =
        "fn is_open(&self) -> bool { true }\nfn has_one(\n  &self,\n  at: usize,\n) -> Option<A> {";
    assert_eq!(acting(answers), 0);
    assert_eq!(acting("fn issue(&mut self) {\nfn is_it(f: fn(&mut A)) -> io::Result<bool> {"), 1);
    assert_eq!(
        acting("pub(super) fn is_over(&self, all: bool) {\nfn can_go(&mut self) -> bool;"),
        2
    );
    assert_eq!(acting("fn has_room(\n  &mut self,\n  at: usize,\n) -> bool {"), 1);
}

#[test]
fn every_module_has_a_floor() {
    let there: BTreeSet<_> = library().into_iter().map(|file| file.module[0].clone()).collect();
    let known: BTreeSet<_> = FLOORS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(there, known);
}

/// What the tests above read of a file.
#[test]
fn imports_are_seen_however_they_are_written() {
    let code = "
        use crate::{
            one::{self, A, inner::{B, C}},
            two,
        };
        pub(crate) use crate::three::D;
        pub(in crate::four) use super::super::ring::{
            E,
        };
        #[cfg(test)]
        use crate::not_this;
        #[cfg(unix)]
        use crate::six::F;
        use std::{
            io,
            sync::{Arc, mpsc},
        };
        fn f(x: &crate::seven::G) { crate::eight::h(x) } // crate::nor_this
        #[cfg(all(test, loom))]
        mod models {
            use crate::nor_that;
        }
    ";
    let (lines, _) = read(code);
    let file = Source { path: "here.rs".into(), module: vec!["a".into(), "b".into()], lines };
    let seen: BTreeSet<_> =
        file.lines.iter().flat_map(|(_, line)| modules_in(line, &file.module)).collect();
    let expected = ["one", "two", "three", "four", "ring", "six", "seven", "eight"];
    assert_eq!(seen, expected.map(str::to_owned).into());
    assert_eq!(file.naming(&["std::sync"]).len(), 1);
    assert_eq!(file.naming(&["std::io"]).len(), 1);
    assert_eq!(file.naming(&["std::net"]).len(), 0);
}

/// Where a module stands. What is named as the program's users name it comes from the very top.
fn floor(module: &str) -> usize {
    FLOORS.iter().position(|name| *name == module).unwrap_or(FLOORS.len())
}

fn arrows() -> Arrows {
    let mut arrows = Arrows::new();
    for file in library() {
        for (number, line) in &file.lines {
            for to in modules_in(line, &file.module) {
                let shown = format!("{}:{number}: {}", file.path.display(), line.trim());
                if to != file.module[0] {
                    arrows.entry((file.module[0].clone(), to)).or_insert(shown);
                }
            }
        }
    }
    arrows
}

/// The modules at the root of the crate that a piece of code names.
fn modules_in(code: &str, here: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        found.extend(heads(&code[at + "crate::".len()..]));
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue; // the rest of a path that was seen from its beginning
        }
        let mut rest = &code[at..];
        let mut depth = here.len();
        while let Some(shorter) = rest.strip_prefix("super::") {
            (rest, depth) = (shorter, depth.saturating_sub(1));
        }
        if depth == 0 {
            // Of an inline module, the path may end a module short of the root.
            found.extend(heads(rest).into_iter().filter(|name| FLOORS.contains(&&**name)));
        }
    }
    found
}

/// `a` of `a::b`, and each of `{a::b, c}`.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.map(name).filter(|name| !name.is_empty()).collect()
}

/// A source file of the library, without comments and tests.
struct Source {
    path: PathBuf,
    /// Where it stands: `socket`, `wait`.
    module: Vec<String>,
    /// What stands on each line; a statement of several lines stands on its first.
    lines: Vec<(usize, String)>,
}

impl Source {
    /// The lines that name one of these, also as a part of a group: `std::{io, fmt}`.
    fn naming(&self, names: &[&str]) -> Vec<String> {
        self.lines_with(|line| names.iter().any(|name| is_named(name, line)))
    }

    /// The functions that are named as questions, but take something that they can change, or return no answer.
    fn questions_that_act(&self) -> Vec<String> {
        let asks = |(index, (number, line)): (usize, &(usize, String))| {
            let (_, signature) = line.split_once("fn ")?;
            let (word, _) = signature.split_once('_')?;
            if !QUESTIONS.contains(&word) {
                return None;
            }
            // The rest of a signature may stand on further lines.
            let lines = self.lines[index..].iter().map(|(_, line)| line.trim());
            let whole = lines.collect::<Vec<_>>().join(" ");
            let (_, whole) = whole.split_once("fn ")?;
            let whole = &whole[..whole.find(['{', ';'])?];
            let result = whole.rsplit_once("-> ").map_or("", |(_, result)| result);
            let answers = result.contains("bool") || result.starts_with("Option");
            let acts = whole.contains("&mut ") || !answers;
            acts.then(|| format!("{}:{number}: {}", self.path.display(), whole.trim()))
        };
        self.lines.iter().enumerate().filter_map(asks).collect()
    }

    /// How many lines have `unsafe` code on them.
    fn unsafe_lines(&self) -> usize {
        // Braces that are open since the last `unsafe`; `Some(0)`: its brace is still to come.
        let (mut open, mut count) = (None, 0);
        for (_, line) in &self.lines {
            let mut is_unsafe = open.is_some() && !line.trim().is_empty();
            // The last word, and the braces between words.
            let mut word = String::new();
            for c in line.chars().chain([' ']) {
                if c.is_alphanumeric() || c == '_' {
                    word.push(c);
                    continue;
                }
                if std::mem::take(&mut word) == "unsafe" && open.is_none() {
                    (open, is_unsafe) = (Some(0), true);
                }
                open = match (open, c) {
                    (Some(depth), '{') => Some(depth + 1),
                    (Some(1), '}') => None,
                    (Some(depth), '}') => Some(depth - 1),
                    (open, _) => open,
                };
            }
            count += usize::from(is_unsafe);
        }
        count
    }

    /// The lines of which this is so, as a person would look them up.
    fn lines_with(&self, is_so: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.lines.iter().filter(|(_, line)| is_so(line));
        lines
            .map(|(number, line)| format!("{}:{number}: {}", self.path.display(), line.trim()))
            .collect()
    }
}

fn is_named(name: &str, line: &str) -> bool {
    let (root, member) = name.split_once("::").expect("a path");
    let group = format!("{root}::{{");
    let mut groups = line.match_indices(&group).map(|(at, _)| &line[at + group.len() - 1..]);
    line.contains(name) || groups.any(|group| heads(group).iter().any(|head| head == member))
}

/// All files that `lib.rs` reaches, itself left out.
fn library() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![(root.join("lib.rs"), Vec::new())];
    while let Some((path, module)) = open.pop() {
        let text = fs::read_to_string(&path).expect("a source file");
        let (lines, children) = read(&text);
        let is_root = path.ends_with("mod.rs") || path.ends_with("lib.rs");
        let dir = if is_root { path.with_file_name("") } else { path.with_extension("") };
        for child in children {
            let mut module = module.clone();
            module.push(child.clone());
            let file = dir.join(format!("{child}.rs"));
            let file = if file.exists() { file } else { dir.join(child).join("mod.rs") };
            open.push((file, module));
        }
        if !module.is_empty() {
            found.push(Source { path, module, lines });
        }
    }
    assert!(found.len() > 50, "the library was not found");
    found
}

/// The lines of a file that count, and the modules it declares.
fn read(text: &str) -> (Vec<(usize, String)>, Vec<String>) {
    let (mut lines, mut children) = (Vec::new(), Vec::new());
    let mut all = text.lines().enumerate();
    let mut only_for_tests = false;
    let mut statement: Option<(usize, String)> = None;
    while let Some((index, line)) = all.next() {
        let code = line.split("//").next().unwrap_or_default().trim_end();
        let bare = code.trim_start();
        // What the kit for the tests of programs needs is a part of the library.
        if bare.starts_with("#[cfg(")
            && !bare.contains(r#"feature = "testing""#)
            && ["test", "loom", "shuttle", "sinew_internals"].iter().any(|kind| bare.contains(kind))
        {
            only_for_tests = true;
        } else if only_for_tests && !bare.starts_with("#[") && !bare.is_empty() {
            only_for_tests = false;
            // The comma ends a field.
            if !bare.ends_with([';', '}', ',']) {
                let end = format!("{}}}", &code[..code.len() - bare.len()]);
                all.by_ref().find(|(_, line)| *line == end);
            }
        } else if let Some((first, begun)) = statement.take() {
            let whole = format!("{begun} {bare}");
            if bare.ends_with(';') {
                lines.push((first, whole))
            } else {
                statement = Some((first, whole))
            }
        } else if is_import(bare) && !bare.ends_with(';') {
            statement = Some((index + 1, bare.to_owned()));
        } else {
            let declared = bare.strip_suffix(';').and_then(|bare| bare.split_once("mod "));
            children.extend(
                declared
                    .filter(|(before, _)| before.is_empty() || before.ends_with(' '))
                    .map(|(_, name)| name.to_owned()),
            );
            lines.push((index + 1, code.to_owned()));
        }
    }
    (lines, children)
}

fn is_import(code: &str) -> bool {
    let code = code.strip_prefix("pub").unwrap_or(code);
    let scoped = code.strip_prefix('(').and_then(|scope| scope.split_once(')'));
    scoped.map_or(code, |(_, code)| code).trim_start().starts_with("use ")
}
