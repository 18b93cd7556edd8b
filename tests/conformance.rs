//! The table in `tests/README.md` is true: each case of `docs/spec/conformance.md` has a test that cites it,
//! and each test that the table names exists. Everything that source, tests and documentation cite from the
//! specification is in it.
//!
//! The table is generated from the citations, such as `/// C117.` above a test. After adding one:
//! `UPDATE_CONFORMANCE=1 cargo test --test conformance`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The cases that wait for something that sinew does not have yet.
const WAITING: &[(RangeInclusive<u16>, &str)] = &[];

/// A section of the list: its title, and the cases that stand in it.
struct Section {
    title: String,
    cases: Vec<u16>,
}

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
    let cases: Vec<u16> = sections().into_iter().flat_map(|section| section.cases).collect();
    let missing: Vec<_> = cases
        .iter()
        .filter(|case| citations.contains_key(case) == why_waiting(**case).is_some())
        .collect();
    assert!(missing.is_empty(), "cases without a test, or with one that should wait: {missing:?}");
    let unknown: Vec<_> = citations.keys().filter(|case| !cases.contains(case)).collect();
    assert!(unknown.is_empty(), "tests cite cases that are not in the list: {unknown:?}");
    let numbers: BTreeSet<_> = cases.iter().collect();
    assert_eq!(numbers.len(), cases.len(), "two cases have one number");
}

/// The list itself: `## 3. PAIR (PA)` begins a section, `- C036 two PAIR0 …` is a case.
fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    for line in specification("conformance.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let title = heading.split_once(". ").map_or(heading, |(_, title)| title);
            let title = title.split(" (").next().unwrap_or(title).to_owned();
            sections.push(Section { title, cases: Vec::new() });
        } else if let Some(case) = line.strip_prefix("- C") {
            let section = sections.last_mut().expect("a heading before the first case");
            let number = case.get(..3).and_then(|digits| digits.parse().ok());
            section.cases.push(number.unwrap_or_else(|| panic!("no case: {line}")));
        }
    }
    sections.retain(|section| !section.cases.is_empty());
    sections
}

fn specification(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/spec").join(name);
    fs::read_to_string(path).expect("a part of the specification")
}

fn why_waiting(case: u16) -> Option<&'static str> {
    WAITING.iter().find(|(cases, _)| cases.contains(&case)).map(|&(_, why)| why)
}

fn render(citations: &Citations) -> String {
    let mut table = String::new();
    for Section { title, cases } in sections() {
        write!(table, "\n## {title}\n\n| case | tests |\n|---|---|\n").expect("it is a string");
        for case in cases {
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
    for dir in ["tests", "sinewcat/tests", "src"] {
        for file in files(&root.join(dir), &["rs"]) {
            let name = file.strip_prefix(root).expect("it is below").display().to_string();
            if !name.ends_with("conformance.rs") {
                let text = fs::read_to_string(&file).expect("a source file");
                read(&name, &text, &mut citations);
            }
        }
    }
    citations
}

/// The files below a directory that have one of the extensions, in the order of their names.
fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let wanted = |extension: &OsStr| extensions.iter().any(|wanted| extension == *wanted);
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(wanted) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Collects what one file cites. In `src`, only the tests count: what is below `#[cfg(test)]`, and
/// documentation with examples. A citation at the top of a file is only an introduction.
fn read(file: &str, text: &str, citations: &mut Citations) {
    let mut cited: Vec<(u16, bool)> = Vec::new();
    let mut in_tests =
        file.split('/').any(|part| matches!(part, "tests" | "tests.rs")) || file.contains("/sim");
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
        let test = if examples {
            item(line).map_or("examples".to_owned(), |of| format!("examples of {of}"))
        } else {
            item(line).unwrap_or_else(|| function.clone())
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
    ["fn ", "struct ", "type ", "mod "].iter().find_map(|word| name_after(line, word)).or_else(
        || {
            let (name, rest) = line.split_once(':')?;
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_row = name.chars().all(is_name) && !name.is_empty() && !rest.starts_with(':');
            is_row.then(|| name.to_owned())
        },
    )
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

/// Vectors of `wire.md` (`E12`, `H1`, `F8`, `B13`, `P4`, `W2`), decisions of `semantics.md` (`D28`) and cases
/// of `conformance.md` (`C117`) exist wherever they are cited.
#[test]
fn what_is_cited_of_the_specification_is_in_it() {
    let known = entries();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unknown = Vec::new();
    for dir in ["src", "tests", "sinewcat", "examples", "benches", "docs/cookbook"] {
        for file in files(&root.join(dir), &["rs", "md"]) {
            let text = fs::read_to_string(&file).expect("a source file");
            let is_prose = file.extension().is_some_and(|extension| extension == "md");
            let comments = text.lines().filter_map(|line| {
                if is_prose {
                    Some(line)
                } else {
                    line.split_once("//").map(|(_, comment)| comment)
                }
            });
            let cited = comments.flat_map(marks).filter(|mark| !known.contains(mark));
            unknown.extend(cited.map(|mark| format!("{}: {mark}", file.display())));
        }
    }
    assert!(unknown.is_empty(), "cited, and not in docs/spec: {unknown:#?}");
}

/// The vectors, decisions and cases that there are.
fn entries() -> BTreeSet<String> {
    let mut entries = BTreeSet::new();
    for part in ["wire.md", "semantics.md", "conformance.md"] {
        let text = specification(part);
        entries.extend(text.lines().filter_map(|line| {
            line.strip_prefix("| ").or_else(|| line.strip_prefix("- ")).and_then(mark_at_start)
        }));
    }
    entries
}

/// Each demand of the drafts is kept, or the table says why not; it leads to a section of the specification, and to
/// a case, a vector or a test, or says why there is none.
#[test]
fn every_demand_of_the_drafts_leads_to_a_rule_and_to_a_test() {
    let (entries, sections) = (entries(), section_numbers());
    let text = specification("rfc.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| § |"));
    let (mut found, mut wrong) = (0, Vec::new());
    for row in rows {
        found += 1;
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, level, _, here, rules, checks] = cells[..] else { panic!("six columns: {row}") };
        let is_level = ["MUST", "SHOULD", "MAY", "*must*"].contains(&level);
        let is_kept = ["kept", "more", "as ", "never", "there is none"];
        let is_judged = is_kept.iter().any(|word| here.starts_with(word))
            || here.strip_prefix("differs").is_some_and(|reason| reason.len() > 10);
        let is_ruled = rules.split(", ").all(|rule| sections.contains(rule));
        let is_checked = checks.strip_prefix("none: ").is_some_and(|reason| reason.len() > 10)
            || checks.split(", ").all(|check| entries.contains(check) || is_test(check));
        if !(is_level && is_judged && is_ruled && is_checked) {
            wrong.push(row);
        }
    }
    assert!(found > 70, "only {found} demands were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `wire 4.1` of `### 4.1 tcp and tls+tcp`, and the like.
fn section_numbers() -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    for part in ["wire", "semantics"] {
        let text = specification(&format!("{part}.md"));
        let headings = text.lines().filter(|line| line.starts_with("##"));
        numbers.extend(headings.filter_map(|heading| {
            let number = heading.trim_start_matches('#').split_whitespace().next()?;
            Some(format!("{part} {}", number.trim_end_matches('.')))
        }));
    }
    numbers
}

/// Whether there is a test that is named as `path/of/file.rs`: name.
fn is_test(named: &str) -> bool {
    let Some((path, name)) = named.trim_start_matches('`').split_once("`: ") else { return false };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {name}()")))
}

/// The citations in a line of text: a letter of [`KINDS`] and a number, standing alone.
fn marks(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter_map(|word| mark_at_start(word).filter(|mark| mark == word))
}

/// `E12` of `E12 | PAIR0 sends`.
fn mark_at_start(text: &str) -> Option<String> {
    /// What entries of the specification begin with, and how many digits follow at most.
    const KINDS: &[(char, usize)] =
        &[('B', 2), ('C', 3), ('D', 2), ('E', 2), ('F', 2), ('H', 2), ('P', 2), ('W', 2)];
    let mut chars = text.chars();
    let kind = chars.next()?;
    let digits: String = chars.take_while(char::is_ascii_digit).collect();
    let (_, longest) = KINDS.iter().find(|(letter, _)| *letter == kind)?;
    let fits = (1..=*longest).contains(&digits.len()) && (kind != 'C' || digits.len() == 3);
    fits.then(|| format!("{kind}{digits}"))
}

/// Links such as `crate::spec::semantics#51-req` lead to a heading. Rustdoc does not look behind the `#`.
#[test]
fn links_into_the_specification_lead_to_its_sections() {
    let anchors: BTreeSet<String> = ["wire", "semantics"]
        .into_iter()
        .flat_map(|part| {
            let text = specification(&format!("{part}.md"));
            let headings = text.lines().filter(|line| line.starts_with('#')).map(str::to_owned);
            headings.map(move |heading| format!("{part}#{}", anchor(&heading))).collect::<Vec<_>>()
        })
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut links, mut astray) = (0, Vec::new());
    for file in files(&root.join("src"), &["rs"]) {
        let text = fs::read_to_string(&file).expect("a source file");
        for link in text.split("crate::spec::").skip(1) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '#' | '-' | '_');
            let link: String = link.chars().take_while(|&c| is_part(c)).collect();
            links += 1;
            if !anchors.contains(&link) {
                astray.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(links > 0 && astray.is_empty(), "no such section: {astray:#?}");
}

/// What a program's author reads says the rule itself, and links to the section; it names no case of a list
/// that is not there. Examples cite cases in lines that are not shown.
#[test]
fn what_is_rendered_names_no_rule_by_its_number() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let public =
        ["api", "transport/mod.rs", "transport/file.rs", "message.rs", "stats.rs", "error.rs"];
    let more = ["options.rs", "peer.rs", "protocol_id.rs", "detach.rs", "address.rs", "runtime.rs"];
    let mut found = Vec::new();
    for path in public.iter().chain(&more).map(|name| root.join(name)) {
        let files = if path.is_dir() { files(&path, &["rs"]) } else { vec![path] };
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().map(str::trim).filter(|line| line.starts_with("///"));
            let rendered = lines.filter(|line| !line.contains("# //"));
            let by_number = rendered.filter(|line| {
                line.contains("specification, section") || marks(line).any(|mark| mark.len() > 3)
            });
            found.extend(by_number.map(|line| format!("{}: {line}", file.display())));
        }
    }
    assert!(found.is_empty(), "documentation that its reader cannot follow: {found:#?}");
}

/// What rustdoc makes of a heading: `51-req` of `### 5.1 REQ`.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().chars();
    words
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c.to_ascii_lowercase()),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect()
}
