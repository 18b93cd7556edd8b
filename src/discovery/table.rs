//! The list of live services of a registry, as plain data: no sockets, no clock.

use std::collections::BTreeMap;

use super::wire::{Identity, Service};

/// How many surveys in a row a service may leave unanswered before it is off the list. With one, a single late
/// answer would make a healthy service come and go.
const PATIENCE: u64 = 2;

/// The live services, each with the number of the survey that it has answered last.
#[derive(Debug)]
pub(super) struct Table {
    survey: u64,
    services: BTreeMap<Identity, (Service, u64)>,
    /// How many there may be.
    most: usize,
}

/// What an answer has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Joined,
    Changed,
    Nothing,
    /// The list is full.
    NoRoom,
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        Self { survey: 0, services: BTreeMap::new(), most }
    }

    /// Begins the next survey. The first has the number 1.
    pub(super) fn begin_survey(&mut self) {
        self.survey += 1;
    }

    /// Notes an answer to the survey that is under way.
    pub(super) fn answered(&mut self, service: Service) -> News {
        let has_room = self.services.len() < self.most;
        match self.services.get_mut(&service.identity()) {
            Some((known, answered)) => {
                *answered = self.survey;
                let news = if *known == service { News::Nothing } else { News::Changed };
                *known = service;
                news
            }
            None if !has_room => News::NoRoom,
            None => {
                self.services.insert(service.identity(), (service, self.survey));
                News::Joined
            }
        }
    }

    /// Ends the survey that is under way. Takes off the list, and returns, who has left [`PATIENCE`] surveys
    /// unanswered, and says whether any of the others has left this one unanswered.
    pub(super) fn end_survey(&mut self) -> (Vec<Service>, bool) {
        let survey = self.survey;
        let gone = |answered: u64| survey.saturating_sub(answered) >= PATIENCE;
        let left: Vec<Service> = self
            .services
            .values()
            .filter(|(_, answered)| gone(*answered))
            .map(|(service, _)| service.clone())
            .collect();
        self.services.retain(|_, (_, answered)| !gone(*answered));
        let is_missing = self.services.values().any(|(_, answered)| *answered < survey);
        (left, is_missing)
    }

    /// The number of the survey that is under way, or was last.
    pub(super) fn survey(&self) -> u64 {
        self.survey
    }

    /// The live services, by name.
    pub(super) fn services(&self) -> impl ExactSizeIterator<Item = &Service> {
        self.services.values().map(|(service, _)| service)
    }

    /// The live services of this name.
    pub(super) fn resolve(&self, name: &str) -> Vec<&Service> {
        let from = (name.to_owned(), Vec::new());
        let named = self.services.range(from..).take_while(|((it, _), _)| it == name);
        named.map(|(_, (service, _))| service).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parrot(address: &str) -> Service {
        Service::new("parrot", address)
    }

    #[test]
    fn a_service_leaves_after_two_surveys_without_its_answer() {
        let mut table = Table::new(10);
        table.begin_survey();
        assert_eq!(table.survey(), 1);
        assert_eq!(table.answered(parrot("a")), News::Joined);
        assert_eq!(table.answered(parrot("a")), News::Nothing);
        assert_eq!(table.answered(parrot("a").with_load(1)), News::Changed);
        assert_eq!(table.end_survey(), (vec![], false));
        table.begin_survey();
        assert_eq!(table.end_survey(), (vec![], true));
        table.begin_survey();
        assert_eq!(table.end_survey(), (vec![parrot("a").with_load(1)], false));
        assert_eq!(table.services().len(), 0);
        table.begin_survey();
        assert_eq!(table.answered(parrot("a")), News::Joined, "it is news when it comes back");
    }

    #[test]
    fn a_late_answer_does_not_cost_a_place() {
        let mut table = Table::new(10);
        for survey in 1..=10 {
            table.begin_survey();
            if survey % PATIENCE == 1 {
                table.answered(parrot("a"));
            }
            assert_eq!(table.end_survey().0, []);
        }
    }

    #[test]
    fn a_name_resolves_to_all_that_have_it_and_nobody_else() {
        let mut table = Table::new(10);
        table.begin_survey();
        for service in
            [parrot("b"), parrot("a"), Service::new("parro", "c"), Service::new("parrots", "d")]
        {
            assert_eq!(table.answered(service), News::Joined);
        }
        assert_eq!(table.resolve("parrot"), [&parrot("a"), &parrot("b")]);
        assert_eq!(table.resolve("nobody"), Vec::<&Service>::new());
    }

    #[test]
    fn a_full_table_takes_nobody_new_and_hears_who_is_there() {
        let mut table = Table::new(1);
        table.begin_survey();
        assert_eq!(table.answered(parrot("a")), News::Joined);
        assert_eq!(table.answered(parrot("b")), News::NoRoom);
        assert_eq!(table.answered(parrot("a")), News::Nothing);
    }
}
