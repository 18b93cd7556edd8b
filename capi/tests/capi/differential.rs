//! The same program with nanomsg's library and with ours: what differs is what the table of `README.md` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kit::TempDir;

use crate::{compile, here, missing, said, with_ours};

/// What a run has said of each fact.
type Facts = BTreeMap<String, String>;

/// A line of the table: the facts that it is about, by a pattern, and what they are there and here.
struct Deviation {
    pattern: String,
    there: String,
    here: String,
}

#[test]
fn nanomsg_and_this_library_differ_where_the_table_says_so() {
    let Some(program) = compile("tests/capi/differential.c") else { return };
    let Some(nanomsg) = nanomsgs() else { return missing("libnanomsg5") };
    let (theirs, ours) = std::thread::scope(|scope| {
        let mut there = Command::new(&program);
        there.env("LD_LIBRARY_PATH", nanomsg);
        let there = scope.spawn(|| facts(there));
        let ours = facts(with_ours(&program));
        (there.join().unwrap(), ours)
    });
    assert!(theirs.len() > 1400, "{}", theirs.len());
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());

    let deviations = deviations();
    let mut wrong = Vec::new();
    let mut used = vec![false; deviations.len()];
    for (fact, there) in &theirs {
        let here = &ours[fact];
        if there == here {
            continue;
        }
        let fits = |it: &Deviation| {
            matches(&it.pattern, fact) && matches(&it.there, there) && matches(&it.here, here)
        };
        match deviations.iter().position(fits) {
            Some(index) => used[index] = true,
            None => wrong.push(format!("{fact}: nanomsg {there}, here {here}")),
        }
    }
    for (deviation, _) in deviations.iter().zip(used).filter(|(_, used)| !used) {
        wrong.push(format!("{}: in the table, but nothing differs", deviation.pattern));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The folder of nanomsg's own library.
fn nanomsgs() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.into_iter().find(|folder| folder.join("libnanomsg.so.5").exists())
}

fn facts(mut program: Command) -> Facts {
    let folder = TempDir::new();
    let said = said(program.arg(folder.path("").as_os_str()));
    let split = |line: &str| {
        let (fact, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{line:?}"));
        (fact.to_owned(), value.to_owned())
    };
    said.lines().map(split).collect()
}

/// The table of `README.md`, of which each line has four columns, code in backquotes.
fn deviations() -> Vec<Deviation> {
    let text = fs::read_to_string(here().join("README.md")).unwrap();
    let begin = text.find("| fact |").expect("it has the table");
    let rows = text[begin..].lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let columns: Vec<_> = line.trim_matches('|').split(" | ").collect();
        let [pattern, there, here, why] = columns[..] else { panic!("{line}") };
        assert!(!why.trim().is_empty(), "{line}");
        let [pattern, there, here] =
            [pattern, there, here].map(|it| it.trim().trim_matches('`').to_owned());
        Deviation { pattern, there, here }
    };
    rows.map(row).collect()
}

/// Whether a text fits a pattern, in which `*` is anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => text.strip_prefix(before).is_some_and(|text| {
            (0..=text.len())
                .filter(|&at| text.is_char_boundary(at))
                .any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[test]
fn patterns_fit_what_they_should() {
    assert!(
        matches("a*c", "abc") && matches("a*c", "ac") && matches("*", "") && matches("*b*", "abc")
    );
    assert!(!matches("a*c", "abd") && !matches("a", "ab"));
}
