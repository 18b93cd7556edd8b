//! `sinewcat completions`: what a shell needs to complete our command line.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Outcome;

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sinewcat completions bash > /etc/bash_completion.d/sinewcat")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sinewcat", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
