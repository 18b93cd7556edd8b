//! The table in `tests/README.md` says the truth: each case of the conformance list has a test that
//! cites it, and each test that the table names is there.
//!
//! The table is made from the citations, such as `/// C117.` above a test. After adding one:
//! `UPDATE_CONFORMANCE=1 cargo test --test conformance`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The sections of the list, and the cases that stand in each by their numbers.
const SECTIONS: &[(&str, RangeInclusive<u16>)] = &[
    ("Connection header", 1..=15),
    ("Framing and sizes", 16..=35),
    ("PAIR", 36..=57),
    ("REQ and REP", 58..=100),
    ("PIPELINE", 101..=117),
    ("Priorities", 118..=125),
    ("BUS", 126..=137),
    ("PUBSUB", 138..=162),
    ("SURVEY", 163..=191),
    ("Contexts", 192..=207),
    ("Raw sockets and devices", 208..=226),
    ("Pipes and events", 227..=238),
    ("Endpoints and addresses", 239..=274),
    ("Reconnecting", 275..=284),
    ("Timeouts, not waiting, closing", 285..=298),
    ("Options", 299..=305),
    ("Statistics", 306..=314),
    ("WebSocket and TLS", 315..=328),
    ("Polling", 329..=333),
    ("Stress and scale", 334..=340),
    ("Later additions", 341..=349),
];

/// The cases that wait for something that sinew does not have yet.
const WAITING: &[(RangeInclusive<u16>, &str)] = &[(315..=328, "waits for these transports")];

/// The tests of each case, by file.
type Citations = BTreeMap<u16, BTreeMap<String, Vec<String>>>;

#[test]
fn the_table_names_the_tests_of_every_case() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md");
    let text = fs::read_to_string(&table).expect("tests/README.md");
    let (head, _) = text.split_once("\n## ").expect("a first section");
    let wanted = format!("{}\n{}", head.trim_end(), render(&citations()));
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        fs::write(&table, &wanted).expect("the table can be written");
    }
    let text = fs::read_to_string(&table).expect("tests/README.md");
    for (line, (is, should)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(is, should, "line {}: UPDATE_CONFORMANCE=1 makes the table anew", line + 1);
    }
    assert_eq!(text, wanted, "UPDATE_CONFORMANCE=1 makes the table anew");
}

#[test]
fn no_case_is_without_a_test() {
    let citations = citations();
    let missing: Vec<u16> = SECTIONS
        .iter()
        .flat_map(|(_, cases)| cases.clone())
        .filter(|case| citations.contains_key(case) == why_waiting(*case).is_some())
        .collect();
    assert!(missing.is_empty(), "cases without a test, or with one that should wait: {missing:?}");
    let last = SECTIONS.last().map_or(0, |(_, cases)| *cases.end());
    let unknown: Vec<_> = citations.keys().filter(|case| !(1..=last).contains(*case)).collect();
    assert!(unknown.is_empty(), "tests cite cases that are not in the list: {unknown:?}");
}

fn why_waiting(case: u16) -> Option<&'static str> {
    WAITING.iter().find(|(cases, _)| cases.contains(&case)).map(|&(_, why)| why)
}

fn render(citations: &Citations) -> String {
    let mut table = String::new();
    for (section, cases) in SECTIONS {
        write!(table, "\n## {section}\n\n| case | tests |\n|---|---|\n").expect("it is a string");
        for case in cases.clone() {
            let tests = match (citations.get(&case), why_waiting(case)) {
                (Some(tests), _) => list(tests),
                (None, why) => why.unwrap_or("none").to_owned(),
            };
            writeln!(table, "| C{case:03} | {tests} |").expect("it is a string");
        }
    }
    table
}

fn list(tests: &BTreeMap<String, Vec<String>>) -> String {
    let files = tests.iter().map(|(file, tests)| format!("`{file}`: {}", tests.join(", ")));
    files.collect::<Vec<_>>().join("; ")
}

fn citations() -> Citations {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut citations = Citations::new();
    for dir in ["tests", "src"] {
        for file in sources(&root.join(dir)) {
            let name = file.strip_prefix(root).expect("it is below").display().to_string();
            if !name.ends_with("conformance.rs") {
                let text = fs::read_to_string(&file).expect("a source file");
                read(&name, &text, &mut citations);
            }
        }
    }
    citations
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.extension() {
            None => found.extend(sources(&path)),
            Some(extension) if extension == "rs" => found.push(path),
            Some(_) => {}
        }
    }
    found.sort();
    found
}

/// Collects what one file cites. In `src`, only the tests count: what is below `#[cfg(test)]`, and
/// documentation with examples. A citation at the top of a file is only an introduction.
fn read(file: &str, text: &str, citations: &mut Citations) {
    let mut cited: Vec<(u16, bool)> = Vec::new();
    let mut in_tests = file.starts_with("tests/") || file.contains("/sim");
    let mut examples = false;
    let mut function = String::new();
    for line in text.lines().map(str::trim) {
        in_tests |= line == "#[cfg(test)]";
        if let Some(comment) = line.strip_prefix("//") {
            examples |= comment.contains("```");
            cited.extend(cases(comment).into_iter().map(|case| (case, comment.starts_with('!'))));
            continue;
        }
        if let Some(name) = name_after(line, "fn ") {
            function = name;
        }
        if line.starts_with("#[") || line.is_empty() {
            continue;
        }
        let test = match examples {
            true => item(line).map_or("examples".to_owned(), |of| format!("examples of {of}")),
            false => item(line).unwrap_or_else(|| function.clone()),
        };
        for (case, of_file) in std::mem::take(&mut cited) {
            if examples || (in_tests && !of_file) {
                let tests: &mut Vec<_> =
                    citations.entry(case).or_default().entry(file.to_owned()).or_default();
                if !tests.contains(&test) {
                    tests.push(test.clone());
                }
            }
        }
        examples = false;
    }
}

/// What a line names: a function, a type, a module, or a row of a table of tests.
fn item(line: &str) -> Option<String> {
    ["fn ", "struct ", "mod "].iter().find_map(|word| name_after(line, word)).or_else(|| {
        let (name, rest) = line.split_once(':')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_row = name.chars().all(is_name) && !name.is_empty() && !rest.starts_with(':');
        is_row.then(|| name.to_owned())
    })
}

fn name_after(line: &str, word: &str) -> Option<String> {
    let (before, rest) = line.split_once(word)?;
    let stands_alone = before.is_empty() || before.ends_with(' ');
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (stands_alone && !name.is_empty()).then_some(name)
}

/// The cases that a comment cites: `C117`, or `C105 to C107` for all between.
fn cases(comment: &str) -> BTreeSet<u16> {
    let mut cases = BTreeSet::new();
    let mut rest = comment;
    let mut from = None;
    while let Some(at) = rest.find('C') {
        let alone = !rest[..at].ends_with(|c: char| c.is_alphanumeric());
        let between = rest[..at].trim();
        rest = &rest[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !alone || digits != 3 {
            from = None;
            continue;
        }
        let case: u16 = rest[..digits].parse().expect("three digits");
        match from {
            Some(from) if between == "to" => cases.extend(from..=case),
            _ => _ = cases.insert(case),
        }
        from = Some(case);
        rest = &rest[digits..];
    }
    cases
}

#[test]
fn citations_are_found_where_they_stand() {
    assert_eq!(cases(" C002, E1, AC004 C105 to C107; C12, C1234"), [2, 105, 106, 107].into());
    let mut found = Citations::new();
    let text =
        "/// C001.\n#[test]\nfn one() {\n    // C002.\n    do_it();\n}\n// C003\ntwo: NANOCAT;\n";
    read("tests/some.rs", text, &mut found);
    let tests = [1, 2, 3].map(|case| list(&found[&case]));
    assert_eq!(tests, ["`tests/some.rs`: one", "`tests/some.rs`: one", "`tests/some.rs`: two"]);
    let mut found = Citations::new();
    read("src/some.rs", "/// By C004.\nfn rule() {}\n", &mut found);
    assert!(found.is_empty(), "a citation that is no test's");
}
