//! `docs/internals.md` is true: what it names in code exists.
//!
//! Each piece of code in backticks is one of these, and is looked for in `src`, by its text:
//!
//! | on the page | is there, if |
//! |---|---|
//! | `Type` | a struct, enum, trait or alias has the name |
//! | `Type::name` | a function, field, variant or constant of that name stands in an `impl` or the definition of the type |
//! | `module::name` | a function or constant of that name stands in `module.rs` or `module/mod.rs` |
//! | `folder/file.rs` | there is such a file in `src`, `tests` or `ci` |

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Words in backticks that are no code of ours, or of the program that uses the crate.
const OTHERS: &[&str] = &["Arc", "bind", "connect", "linger", "SeqCst", "WouldBlock"];

#[test]
fn what_the_page_names_exists() {
    let source = Source::read();
    let missing: BTreeSet<String> =
        named_on(&page()).into_iter().filter(|name| !source.has(name)).collect();
    assert!(missing.is_empty(), "docs/internals.md names what is not in src: {missing:#?}");
}

#[test]
fn the_page_names_most_of_what_it_is_about() {
    let names = named_on(&page());
    assert!(names.len() > 100, "only {} names were found on the page", names.len());
}

#[test]
fn what_is_not_there_is_found_missing() {
    let source = Source::read();
    let names = ["Core::enter", "Core", "Tail::word", "writing::write_out", "io/link.rs"];
    assert!(names.iter().all(|name| source.has(name)));
    let names = ["Core::pop", "Cores", "Tail::words", "writing::read_in", "io/links.rs", "core"];
    assert!(!names.iter().any(|name| source.has(name)));
}

#[test]
fn the_page_gives_a_reason_for_the_ordering_of_each_atomic() {
    let page = page();
    let (_, tables) = page.split_once("## The hand-shakes").expect("its heading");
    let (tables, _) = tables.split_once("## The locks").expect("its heading");
    let atomics = Source::read().atomics();
    assert!(atomics.len() > 50, "only {} atomics were found in src", atomics.len());
    let unknown: BTreeSet<_> = atomics.difference(&named_on(tables)).cloned().collect();
    assert!(unknown.is_empty(), "docs/internals.md has no ordering of {unknown:#?}");
}

fn page() -> String {
    fs::read_to_string(root().join("docs/internals.md")).expect("the page")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The pieces of code on the page, without those of its figures.
fn named_on(page: &str) -> BTreeSet<String> {
    let prose = page.split("```").step_by(2).collect::<String>();
    let code = prose.split('`').skip(1).step_by(2);
    code.filter(|code| !OTHERS.contains(code)).map(str::to_owned).collect()
}

/// The files of the crate: their paths, and their lines.
struct Source(Vec<(String, Vec<String>)>);

impl Source {
    fn read() -> Self {
        let mut files = Vec::new();
        for folder in ["src", "tests", "ci"] {
            collect(&root().join(folder), &mut files);
        }
        Self(files)
    }

    fn has(&self, name: &str) -> bool {
        if let Some((owner, name)) = name.split_once("::") {
            return if owner.starts_with(|first: char| first.is_ascii_uppercase()) {
                self.0.iter().any(|(_, lines)| belongs_to(lines, owner, name))
            } else {
                self.modules(owner).any(|lines| defines(lines, name))
            };
        }
        if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            return self.0.iter().any(|(_, lines)| lines.iter().any(|line| is_type(line, name)));
        }
        let is_path = name.contains('/') || name.ends_with(".rs");
        is_path && self.0.iter().any(|(path, _)| path.ends_with(&format!("/{name}")))
    }

    /// The atomics that types of the library have: `Type::field`, or the type if the field has no name.
    fn atomics(&self) -> BTreeSet<String> {
        let mut atomics = BTreeSet::new();
        let is_of_tests = |path: &str| path.ends_with("/loom.rs") || path.ends_with("/tests.rs");
        let ours = self.0.iter().filter(|(path, _)| path.starts_with("/src/"));
        for (_, lines) in ours.filter(|(path, _)| !is_of_tests(path)) {
            let mut owner = None;
            for line in lines {
                let (indented, name) = (line.starts_with(' '), follows(line, "struct"));
                match name.filter(|_| !indented) {
                    Some(name) => owner = Some(name),
                    None if line == "}" => owner = None,
                    None => {}
                }
                let is_atomic =
                    ["AtomicBool", "AtomicPtr", "AtomicU"].iter().any(|it| line.contains(it));
                let field = line.split_once(": ").and_then(|(before, _)| words(before).last());
                match (owner.filter(|_| is_atomic), field.filter(|_| indented)) {
                    (Some(owner), Some(field)) => _ = atomics.insert(format!("{owner}::{field}")),
                    (Some(owner), None) => _ = atomics.insert(owner.to_owned()),
                    (None, _) => {}
                }
                if line.ends_with(';') && !indented {
                    owner = None;
                }
            }
        }
        atomics
    }

    fn modules(&self, name: &str) -> impl Iterator<Item = &[String]> {
        let endings = [format!("/{name}.rs"), format!("/{name}/mod.rs")];
        let files = self.0.iter().filter(move |(path, _)| {
            path.starts_with("/src") && endings.iter().any(|ending| path.ends_with(ending))
        });
        files.map(|(_, lines)| lines.as_slice())
    }
}

fn collect(folder: &Path, files: &mut Vec<(String, Vec<String>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root()).expect("it is below").display().to_string();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.push((format!("/{name}"), text.lines().map(str::to_owned).collect()));
        }
    }
}

/// What a block at the margin defines, of the type that is looked for.
enum Block {
    /// Functions and constants, as of an `impl` or a trait.
    Impl,
    /// Fields or variants.
    Type,
}

/// Whether a block that belongs to the type `owner` has a definition of `name`.
fn belongs_to(lines: &[String], owner: &str, name: &str) -> bool {
    if !lines.iter().any(|line| line.contains(owner) && line.ends_with('{')) {
        return false;
    }
    let mut block = None;
    for line in lines {
        if line == "}" {
            block = None;
        } else if line.ends_with('{') && is_type(line, owner) && !line.contains(" trait ") {
            block = Some(Block::Type);
        } else if line.ends_with('{') && words(line).any(|word| word == owner) && opens_impl(line) {
            block = Some(Block::Impl);
        }
        let line = line.trim_start();
        let is_it = match block {
            Some(Block::Impl) => {
                ["fn", "const"].iter().any(|word| follows(line, word) == Some(name))
            }
            Some(Block::Type) => is_field_or_variant(line, name),
            None => false,
        };
        if is_it {
            return true;
        }
    }
    false
}

fn opens_impl(line: &str) -> bool {
    line.starts_with("impl") || line.starts_with("unsafe impl") || line.contains("trait ")
}

fn defines(lines: &[String], name: &str) -> bool {
    lines.iter().any(|line| {
        let line = line.trim_start();
        let of_module = ["fn", "const", "static"];
        of_module.iter().any(|word| follows(line, word) == Some(name))
    })
}

fn is_field_or_variant(line: &str, name: &str) -> bool {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = match line.strip_prefix("pub(") {
        Some(visibility) => visibility.split_once(") ").map_or(line, |(_, line)| line),
        None => line,
    };
    let end = line.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len());
    &line[..end] == name && line[end..].starts_with([':', ',', '(', ' '])
}

fn is_type(line: &str, name: &str) -> bool {
    ["struct", "enum", "trait", "type"].iter().any(|word| follows(line, word) == Some(name))
}

/// The word behind `word`, if that stands in the line before any bracket.
fn follows<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    let mut all = words(line);
    all.find(|&found| found == word)?;
    all.next().filter(|_| !line.starts_with("//"))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}
