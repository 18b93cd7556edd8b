//! Which protocol is spoken: the options that choose it, and what it can do.

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};

use crate::failure::{Failure, Outcome};

/// One end of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Push,
    Pull,
    Pub,
    Sub,
    Req,
    Rep,
    Surveyor,
    Respondent,
    Bus,
    Pair,
    Pair1,
}

/// Each with its option, another name of the same, and what the help says.
const ALL: [(Protocol, &str, &str, &str); 11] = [
    (Protocol::Push, "push", "push0", "Send work, each message to one PULL"),
    (Protocol::Pull, "pull", "pull0", "Receive work"),
    (Protocol::Pub, "pub", "pub0", "Send news to all SUBs"),
    (Protocol::Sub, "sub", "sub0", "Receive news, those that begin with --subscribe"),
    (Protocol::Req, "req", "req0", "Send a request and print the reply"),
    (Protocol::Rep, "rep", "rep0", "Print requests, and answer each with the data if there is any"),
    (Protocol::Surveyor, "surveyor", "surveyor0", "Ask everyone, and print the answers"),
    (Protocol::Respondent, "respondent", "respondent0", "Print surveys, and answer with the data"),
    (Protocol::Bus, "bus", "bus0", "Send the data to all peers, and print what they say"),
    (Protocol::Pair, "pair", "pair0", "Talk to one PAIR of version 0"),
    (Protocol::Pair1, "pair1", "", "Talk to one PAIR of version 1"),
];

impl Protocol {
    /// Whether it sends by itself, without being asked.
    pub(crate) fn begins(self) -> bool {
        !matches!(self, Self::Pull | Self::Sub | Self::Rep | Self::Respondent)
    }

    /// Whether it can do nothing without data.
    pub(crate) fn needs_data(self) -> bool {
        matches!(self, Self::Push | Self::Pub | Self::Req | Self::Surveyor)
    }

    /// Whether it ever sends.
    pub(crate) fn sends(self) -> bool {
        !matches!(self, Self::Pull | Self::Sub)
    }

    /// Whether it ever receives.
    pub(crate) fn receives(self) -> bool {
        !matches!(self, Self::Push | Self::Pub)
    }

    /// Its name, as of the option.
    pub(crate) fn name(self) -> &'static str {
        let is_this = |entry: &&(Self, &'static str, &str, &str)| entry.0 == self;
        ALL.iter().find(is_this).expect("all are there").1
    }
}

/// The protocol that the command line names, if it names one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProtocolChoice(Option<Protocol>);

impl ProtocolChoice {
    /// The protocol, which must be there.
    pub(crate) fn required(self) -> Outcome<Protocol> {
        self.0.ok_or_else(|| {
            let names: Vec<String> = ALL.iter().map(|entry| format!("--{}", entry.1)).collect();
            Failure::Usage(format!("no protocol: one of {} is wanted", names.join(", ")))
        })
    }
}

impl clap::Args for ProtocolChoice {
    fn augment_args(command: Command) -> Command {
        let option =
            |(_, name, alias, help): &(Protocol, &'static str, &'static str, &'static str)| {
                let option = Arg::new(*name).long(*name).action(ArgAction::SetTrue);
                let option = option.help(*help).help_heading("Protocol, one of");
                match alias.is_empty() {
                    true => option,
                    false => option.alias(*alias),
                }
            };
        let group = ArgGroup::new("protocol").args(ALL.iter().map(|entry| entry.1));
        command.args(ALL.iter().map(option)).group(group)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ProtocolChoice {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = ALL.iter().find(|entry| matches.get_flag(entry.1));
        Ok(Self(chosen.map(|entry| entry.0)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
