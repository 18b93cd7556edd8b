//! The protocol: the options that choose it, and what it can do.

use std::marker::PhantomData;

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

type Entry = (Protocol, &'static str, &'static str, &'static str);

/// Each with its option, an alias, and its line in the help.
const ALL: [Entry; 11] = [
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

    /// Its name, as in the option.
    pub(crate) fn name(self) -> &'static str {
        ALL.iter().find(|entry| entry.0 == self).expect("all are there").1
    }
}

/// The protocols that a task offers.
pub(crate) trait Offer {
    const PROTOCOLS: &'static [Protocol];

    /// Those, each as in [`ALL`].
    fn entries() -> impl Iterator<Item = &'static Entry> {
        ALL.iter().filter(|entry| Self::PROTOCOLS.contains(&entry.0))
    }
}

/// All of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Every;

impl Offer for Every {
    const PROTOCOLS: &'static [Protocol] = &[
        Protocol::Push,
        Protocol::Pull,
        Protocol::Pub,
        Protocol::Sub,
        Protocol::Req,
        Protocol::Rep,
        Protocol::Surveyor,
        Protocol::Respondent,
        Protocol::Bus,
        Protocol::Pair,
        Protocol::Pair1,
    ];
}

/// The protocol that the command line names, if it names one of those that are offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProtocolChoice<O = Every>(Option<Protocol>, PhantomData<O>);

impl<O: Offer> ProtocolChoice<O> {
    /// The protocol, which must be there.
    pub(crate) fn required(&self) -> Outcome<Protocol> {
        self.0.ok_or_else(|| {
            let names: Vec<String> = O::entries().map(|entry| format!("--{}", entry.1)).collect();
            Failure::Usage(format!("no protocol: one of {} is wanted", names.join(", ")))
        })
    }

    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

impl<O: Offer> clap::Args for ProtocolChoice<O> {
    fn augment_args(command: Command) -> Command {
        let option = |(_, name, alias, help): &Entry| {
            let option = Arg::new(*name).long(*name).action(ArgAction::SetTrue);
            let option = option.help(*help).help_heading("Protocol, one of");
            if alias.is_empty() { option } else { option.alias(*alias) }
        };
        let group = ArgGroup::new("protocol").args(O::entries().map(|entry| entry.1));
        command.args(O::entries().map(option)).group(group)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<O: Offer> clap::FromArgMatches for ProtocolChoice<O> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = O::entries().find(|entry| matches.get_flag(entry.1));
        Ok(Self(chosen.map(|entry| entry.0), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
