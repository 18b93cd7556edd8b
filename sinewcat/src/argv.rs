//! Reading the command line as nanocat and nngcat do.
//!
//! Rewrites the arguments into the one form that the parser gets: `--name=value`, with the full name. So long
//! options may be abbreviated, and have their value after `=`, after `:` or in the next argument; short ones
//! may be clustered, with the value attached; a value may begin with a dash. Unknown options are left for the
//! parser to refuse.

use std::ffi::{OsStr, OsString};
use std::vec::IntoIter;

use clap::{Arg, ArgAction, Command};

use crate::failure::{Failure, Outcome};
use crate::text;

/// Rewrites the arguments after the program's name. `command` has been built.
pub(crate) fn normalise(arguments: Vec<OsString>, command: &Command) -> Outcome<Vec<OsString>> {
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.as_slice().first() else { return Ok(Vec::new()) };
    match first.to_str().and_then(|name| command.find_subcommand(name)) {
        Some(subcommand) => {
            let mut words = vec![arguments.next().expect("it is the subcommand")];
            words.extend(normalise(arguments.collect(), subcommand)?);
            Ok(words)
        }
        None => Reading { command, arguments, words: Vec::new() }.read(),
    }
}

struct Reading<'a> {
    command: &'a Command,
    arguments: IntoIter<OsString>,
    words: Vec<OsString>,
}

impl Reading<'_> {
    fn read(mut self) -> Outcome<Vec<OsString>> {
        while let Some(word) = self.arguments.next() {
            match text::bytes_of(&word) {
                b"--" => {
                    self.words.push(word);
                    self.words.extend(self.arguments.by_ref());
                }
                [b'-', b'-', rest @ ..] => self.long(&word, rest)?,
                [b'-', rest @ ..] if !rest.is_empty() => self.cluster(&word, rest),
                _ => self.words.push(word),
            }
        }
        Ok(self.words)
    }

    /// `--name`, `--name=value` or `--name:value`.
    fn long(&mut self, word: &OsStr, rest: &[u8]) -> Outcome {
        let end = rest.iter().position(|byte| b"=:".contains(byte));
        let (name, value) = match end {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        let found = match std::str::from_utf8(name) {
            Ok(name) => find_long(self.command, name)?,
            Err(_) => None,
        };
        match found {
            Some(option) => self.option(option, value),
            None => self.words.push(word.to_owned()),
        }
        Ok(())
    }

    /// `-v`, `-AQ`, `-L5555`.
    fn cluster(&mut self, word: &OsStr, rest: &[u8]) {
        for (at, &letter) in rest.iter().enumerate() {
            let known = |arg: &&Arg| arg.get_short() == Some(char::from(letter));
            let Some(option) = self.command.get_arguments().find(known) else {
                self.words.push(word.to_owned());
                return;
            };
            if matches!(option.get_action(), ArgAction::Help) {
                // Its short form asks for the shorter help.
                self.words.push("-h".into());
                continue;
            }
            if takes_value(option) {
                let glued = &rest[at + 1..];
                return self.option(option, (!glued.is_empty()).then_some(glued));
            }
            self.option(option, None);
        }
    }

    /// Writes an option with its value, which may be the next argument.
    fn option(&mut self, option: &Arg, value: Option<&[u8]>) {
        let name = option.get_long().expect("every option has a long name");
        let value = match value {
            None if takes_value(option) => self.arguments.next().map(text::into_bytes),
            value => value.map(<[u8]>::to_vec),
        };
        let mut word = format!("--{name}").into_bytes();
        if let Some(value) = value {
            word.push(b'=');
            word.extend(value);
        }
        self.words.push(text::from_bytes(word));
    }
}

/// The option with this name, or the only one whose name begins with it.
fn find_long<'a>(command: &'a Command, name: &str) -> Outcome<Option<&'a Arg>> {
    let mut candidates = Vec::new();
    for option in command.get_arguments() {
        for long in long_names(option) {
            if long == name {
                return Ok(Some(option));
            }
            if !name.is_empty() && long.starts_with(name) {
                candidates.push((long, option));
            }
        }
    }
    match &candidates[..] {
        [] => Ok(None),
        [(_, first), rest @ ..]
            if rest.iter().all(|(_, other)| other.get_id() == first.get_id()) =>
        {
            Ok(Some(first))
        }
        _ => {
            let names: Vec<String> =
                candidates.iter().map(|(long, _)| format!("--{long}")).collect();
            Err(Failure::Usage(format!("--{name} is ambiguous: {}", names.join(", "))))
        }
    }
}

fn long_names(option: &Arg) -> Vec<&str> {
    let mut names: Vec<&str> = option.get_long().into_iter().collect();
    names.extend(option.get_all_aliases().unwrap_or_default());
    names
}

fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn read(line: &str) -> Result<String, String> {
        let mut command = Cli::command();
        command.build();
        let words = normalise(line.split(' ').map(OsString::from).collect(), &command);
        let join = |words: Vec<OsString>| words.join(OsStr::new(" ")).into_string().unwrap();
        words.map(join).map_err(|failure| failure.to_string())
    }

    #[test]
    fn values_come_after_an_equals_sign_a_colon_or_a_space() {
        for line in ["--bind=tcp://a:1", "--bind:tcp://a:1", "--bind tcp://a:1", "--li tcp://a:1"] {
            assert_eq!(read(line).unwrap(), "--bind=tcp://a:1");
        }
        assert_eq!(read("--data --pull").unwrap(), "--data=--pull");
        assert_eq!(read("--data=").unwrap(), "--data=");
        assert_eq!(read("--data").unwrap(), "--data");
    }

    #[test]
    fn short_options_stand_in_clusters_and_have_their_values_glued_on() {
        assert_eq!(read("-vvAL5555").unwrap(), "--verbose --verbose --ascii --bind-local=5555");
        assert_eq!(read("-D -x").unwrap(), "--data=-x");
        assert_eq!(read("-Dpong").unwrap(), "--data=pong");
        assert_eq!(read("-vJ").unwrap(), "--verbose -vJ");
    }

    #[test]
    fn long_names_may_be_shortened_to_what_is_unique() {
        assert_eq!(
            read("--surv --resp --sub --subs x").unwrap(),
            "--surveyor --respondent --sub --subscribe=x"
        );
        assert_eq!(read("--req0 --pair").unwrap(), "--req --pair");
        assert_eq!(read("--pul").unwrap(), "--pull");
        let ambiguous = read("--con x").unwrap_err();
        assert_eq!(ambiguous, "--con is ambiguous: --connect, --connect-ipc, --connect-local");
        assert_eq!(read("--nonsense x").unwrap(), "--nonsense x");
        assert_eq!(read("-- --con").unwrap(), "-- --con");
    }

    #[test]
    fn subcommands_are_read_alike() {
        assert_eq!(read("peers --pul -L5").unwrap(), "peers --pull --bind-local=5");
    }
}
