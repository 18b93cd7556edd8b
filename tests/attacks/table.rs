//! The table in `README.md` has every row of the list, and names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many rows each group has.
const GROUPS: [(char, usize); 10] = [
    ('a', 20),
    ('b', 13),
    ('c', 14),
    ('d', 16),
    ('e', 18),
    ('f', 11),
    ('g', 24),
    ('h', 14),
    ('i', 8),
    ('j', 12),
];

#[test]
fn every_row_is_there_and_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("tests/attacks/README.md")).expect("the table");
    // Those of the list: a letter and two digits.
    let rows: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|row| row.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
        .collect();
    let mut missing = Vec::new();
    for (group, count) in GROUPS {
        for number in 1..=count {
            let name = format!("{group}{number:02}");
            if !rows.iter().any(|row| row.starts_with(&format!("{name} |"))) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "rows that the table lacks: {missing:?}");
    let functions = functions(&["tests", "src"].map(|dir| root.join(dir)));
    let named: Vec<&str> = rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let unknown: Vec<_> =
        named.iter().filter(|name| !name.contains('/') && !functions.contains(**name)).collect();
    assert!(unknown.is_empty(), "tests that do not exist: {unknown:?}");
    // And the other way round: a test of a row is in its row.
    let here = self::functions(&[root.join("tests/attacks")]);
    let unnamed: Vec<_> =
        here.iter().filter(|name| is_row(name) && !named.contains(&name.as_str())).collect();
    assert!(unnamed.is_empty(), "tests that the table does not name: {unnamed:?}");
}

/// Whether a function is named after a row: `a07_…`.
fn is_row(name: &str) -> bool {
    let mut chars = name.chars();
    let group = chars.next().is_some_and(|c| ('a'..='j').contains(&c));
    let digits = chars.by_ref().take(2).filter(char::is_ascii_digit).count() == 2;
    group && digits && chars.next() == Some('_')
}

fn functions(dirs: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for dir in dirs {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                names.extend(functions(&[path]));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let found = text.split("fn ").skip(1).map(|rest| {
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
                });
                names.extend(found);
                // Tests of a table, each a line.
                let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
                names.extend(lines.map(|(name, _)| name.to_owned()));
            }
        }
    }
    names
}
