//! `sinew.h` is what cbindgen makes of `src/own`.

use std::path::PathBuf;
use std::{env, fs};

use crate::here;

#[test]
fn the_header_is_up_to_date() {
    let header = here().join("include/sinew.h");
    let made = made();
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&header, &made).unwrap();
    }
    let there = fs::read_to_string(&header).unwrap_or_default();
    assert!(
        there == made,
        "include/sinew.h is not up to date: UPDATE_HEADER=1 cargo test -p sinew-capi header"
    );
}

fn made() -> String {
    let own = here().join("src/own");
    let entries = fs::read_dir(own).unwrap().map(|entry| entry.unwrap().path());
    // That one names the others, which would be read twice.
    let mut files: Vec<PathBuf> = entries.filter(|path| !path.ends_with("mod.rs")).collect();
    files.sort();
    let config = cbindgen::Config::from_file(here().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in files {
        builder = builder.with_src(file);
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    plain(&String::from_utf8(made).unwrap())
}

/// The header with comments as people write them: those of one line in one line. What Rust calls safety is what a
/// caller in C has to see to: a paragraph like the others.
fn plain(header: &str) -> String {
    let mut lines = header.lines().peekable();
    let mut plain = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "/*" {
            plain += line;
            plain += "\n";
            continue;
        }
        let requirement;
        let indent = &line[..line.len() - 2];
        let mut comment: Vec<_> =
            lines.by_ref().map(str::trim).take_while(|line| *line != "*/").collect();
        if let Some(safety) = comment.iter().position(|line| *line == "# Safety") {
            comment.drain(safety..safety + 2);
            requirement = format!("Requires: {}", comment[safety]);
            comment[safety] = &requirement;
        }
        let joined = comment.join(&format!("\n{indent} * ")).replace(" * \n", " *\n");
        plain += &format!("{indent}/* {joined} */\n");
    }
    plain
}
