//! Reads what was measured, and compares like with like.
//!
//! A ratio is made of two runs of one round, which lie seconds apart; what a table shows is the median
//! of the rounds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value as Json;

use crate::table::{BARE, Cell, Condition, Entrant, Row, SINEW, Value, ten_subscriptions};

/// Who is behind the best peer by more than this is not run again, in this cell and condition.
const HOPELESS: f64 = 2.5;
/// Nor is a way to use a peer that is behind another way to use it by more than this.
const WORSE: f64 = 1.5;

/// One run of one entrant.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) entrant: String,
    pub(crate) lib: String,
    /// Of which file, and which round there.
    pub(crate) round: (usize, u64),
    pub(crate) lost: u64,
    fields: Json,
}

impl Run {
    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.fields[field].as_f64()
    }

    fn received(&self) -> u64 {
        self.fields["recvd"].as_u64().unwrap_or(0)
    }

    /// Microseconds of processor time for each message, all processes together.
    pub(crate) fn cpu(&self) -> Option<f64> {
        let both = self.number("cpu_a")? + self.number("cpu_b")?;
        Some(both * 1e6 / self.number("recvd")?).filter(|cpu| cpu.is_finite() && *cpu > 0.0)
    }

    /// Microseconds of the SUB's processor time for each message.
    fn subscriber_cpu(&self) -> Option<f64> {
        Some(self.number("cpu_b")? * 1e6 / self.number("recvd")?)
    }
}

/// A cell and a condition.
type Place = (String, Condition);

/// All that was measured.
#[derive(Default)]
pub(crate) struct Results {
    runs: HashMap<Place, Vec<Run>>,
    failures: BTreeMap<(String, String), String>,
    calls: HashMap<(String, String), f64>,
    /// Where and what was measured, each only once.
    pub(crate) about: Vec<String>,
    versions: BTreeMap<String, String>,
}

/// What an entrant reached in the runs that count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reached {
    pub(crate) entrant: String,
    pub(crate) values: Vec<((usize, u64), f64)>,
    /// The part of the messages that was lost.
    pub(crate) lost: f64,
    /// Microseconds of processor time for a message.
    pub(crate) cpu: Option<f64>,
}

impl Reached {
    pub(crate) fn numbers(&self) -> Vec<f64> {
        self.values.iter().map(|(_, value)| *value).collect()
    }

    fn median(&self) -> f64 {
        median(&self.numbers()).expect("who has no value has reached nothing")
    }
}

/// sinew beside the best peer.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) sinew: Reached,
    pub(crate) peer: Reached,
    /// sinew's number divided by the peer's, in each round that has both.
    pub(crate) ratios: Vec<f64>,
}

impl Comparison {
    pub(crate) fn ratio(&self) -> f64 {
        median(&self.ratios).expect("without a common round nothing is compared")
    }

    /// sinew's processor time divided by the peer's.
    pub(crate) fn cpu_ratio(&self) -> Option<f64> {
        Some(self.sinew.cpu? / self.peer.cpu?)
    }
}

impl Results {
    /// Reads files of results. Of a cell and condition that is in several, the last file counts.
    pub(crate) fn read(files: &[PathBuf]) -> io::Result<Self> {
        let mut all = Self::default();
        for (number, file) in files.iter().enumerate() {
            let mut these = Self::default();
            these.add_file(number, file)?;
            all.replace(these);
        }
        Ok(all)
    }

    fn add_file(&mut self, number: usize, file: &Path) -> io::Result<()> {
        for line in fs::read_to_string(file)?.lines() {
            self.take(number, serde_json::from_str(line)?);
        }
        Ok(())
    }

    fn replace(&mut self, newer: Self) {
        self.failures.retain(|(cell, _), _| newer.runs.keys().all(|(place, _)| place != cell));
        self.runs.extend(newer.runs);
        self.failures.extend(newer.failures);
        self.calls.extend(newer.calls);
        self.versions.extend(newer.versions);
        for about in newer.about {
            self.note(about);
        }
    }

    fn note(&mut self, about: String) {
        if !self.about.contains(&about) {
            self.about.push(about);
        }
    }

    /// Takes in a line of a file.
    pub(crate) fn take(&mut self, file: usize, fields: Json) {
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let key = (text("cell"), text("entrant"));
        if fields["about"].is_string() {
            self.note(text("about"));
        } else if let Some(calls) = fields["calls"].as_f64() {
            self.calls.insert(key, calls);
        } else if let Some(why) = fields["fail"].as_str() {
            self.failures.insert(key, why.to_owned());
        } else if let Some(condition) = Condition::named(&text("condition")) {
            self.failures.remove(&key);
            self.versions.insert(text("library"), text("ver"));
            let run = Run {
                entrant: key.1,
                lib: text("library"),
                round: (file, fields["round"].as_u64().unwrap_or(0)),
                lost: fields["lost"].as_u64().unwrap_or(0),
                fields,
            };
            self.runs.entry((key.0, condition)).or_default().push(run);
        }
    }

    /// Of how many runs how many began while something else used a fifth of the processors or more.
    pub(crate) fn disturbed(&self) -> (usize, usize) {
        let busy = |run: &&Run| run.number("busy").is_some_and(|share| share >= 0.2);
        let all = || self.runs.values().flatten();
        (all().filter(busy).count(), all().count())
    }

    /// How many rounds each row has at most.
    pub(crate) fn rounds(&self) -> usize {
        let of_place = |runs: &Vec<Run>| {
            let mut rounds: Vec<_> = runs.iter().map(|run| run.round).collect();
            rounds.sort_unstable();
            rounds.dedup();
            rounds.len()
        };
        self.runs.values().map(of_place).max().unwrap_or(0)
    }

    /// Libraries with their versions.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.versions.iter().map(|(library, version)| (library.as_str(), version.as_str()))
    }

    pub(crate) fn runs(&self, cell: &Cell, condition: Condition) -> &[Run] {
        self.runs.get(&(cell.id.clone(), condition)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has(
        &self,
        cell: &Cell,
        condition: Condition,
        round: u64,
        entrant: &Entrant,
    ) -> bool {
        let name = entrant.name();
        self.runs(cell, condition).iter().any(|run| run.entrant == name && run.round.1 == round)
    }

    pub(crate) fn calls(&self, cell: &Cell, entrant: &str) -> Option<f64> {
        self.calls.get(&(cell.id.clone(), entrant.to_owned())).copied()
    }

    /// Who failed in a cell and did not succeed later, and why.
    pub(crate) fn failures(&self, cell: &Cell) -> impl Iterator<Item = (&str, &str)> {
        let of_cell = self.failures.iter().filter(|((failed_in, _), _)| *failed_in == cell.id);
        of_cell.map(|((_, who), why)| (who.as_str(), why.as_str()))
    }

    /// What all entrants reached that a filter lets through, the best one first.
    fn ranking(
        &self,
        cell: &Cell,
        condition: Condition,
        value: Value,
        is_meant: impl Fn(&Run) -> bool,
    ) -> Vec<Reached> {
        let runs = self.runs(cell, condition);
        let mut names: Vec<&str> =
            runs.iter().filter(|run| is_meant(run)).map(|run| run.entrant.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let reached =
            names.into_iter().filter_map(|name| self.reached(cell, condition, value, name));
        let mut ranking: Vec<Reached> = reached.collect();
        ranking.sort_by(|a, b| match value.more_is_better() {
            true => b.median().total_cmp(&a.median()),
            false => a.median().total_cmp(&b.median()),
        });
        ranking
    }

    /// What an entrant reached in the runs that count; `None` if it has no such run.
    fn reached(
        &self,
        cell: &Cell,
        condition: Condition,
        value: Value,
        entrant: &str,
    ) -> Option<Reached> {
        let runs = || self.runs(cell, condition).iter().filter(|run| run.entrant == entrant);
        if !runs().all(|run| cell.bears(run.lost, run.received())) {
            return None;
        }
        let base = match value {
            Value::Extra => self.base(condition, entrant)?,
            _ => 0.0,
        };
        let number = |run: &Run| match value {
            Value::Extra => Some(run.subscriber_cpu()? - base),
            _ => run.number(value.field()),
        };
        let values: Vec<_> = runs().filter_map(|run| Some((run.round, number(run)?))).collect();
        if values.is_empty() {
            return None;
        }
        let lost = match value {
            Value::Extra => 0.0,
            _ => runs().map(|run| run.lost as f64).sum::<f64>(),
        };
        let received = runs().map(|run| run.received() as f64).sum::<f64>();
        let cpu = match value {
            Value::Memory | Value::Extra => None,
            _ => median(&runs().filter_map(Run::cpu).collect::<Vec<_>>()),
        };
        Some(Reached { entrant: entrant.to_owned(), values, lost: lost / (lost + received), cpu })
    }

    /// A subscriber's time for a message when it has few subscriptions.
    fn base(&self, condition: Condition, entrant: &str) -> Option<f64> {
        let runs = self.runs(&ten_subscriptions(), condition).iter();
        let times = runs.filter(|run| run.entrant == entrant).filter_map(Run::subscriber_cpu);
        median(&times.collect::<Vec<_>>())
    }

    /// What sinew reached when it was used in one way, or in the best variety of it.
    pub(crate) fn sinew(&self, row: &Row, condition: Condition, way: &str) -> Option<Reached> {
        let is_meant = |run: &Run| run.lib == SINEW && is_way(run, way);
        self.ranking(&row.cell, condition, row.value, is_meant).into_iter().next()
    }

    /// Compares sinew with the best peer; fails with the reason why that cannot be done.
    pub(crate) fn compare(&self, row: &Row, condition: Condition) -> Result<Comparison, String> {
        let rank = |is_meant: &dyn Fn(&Run) -> bool| {
            self.ranking(&row.cell, condition, row.value, is_meant).into_iter()
        };
        let sinew = self.sinew(row, condition, row.way).ok_or("sinew has no result")?;
        let is_peer = |run: &Run| match row.against {
            Some(peer) => run.lib == peer,
            None => run.lib != SINEW && run.lib != BARE,
        };
        // A mode that loses messages has no result beside one that does not.
        let peer = rank(&is_peer).find(|peer| sinew.lost > 0.0 || peer.lost == 0.0);
        let peer = peer.ok_or("no peer has a result")?;
        if sinew.lost > 0.0 && peer.lost == 0.0 {
            return Err(format!("sinew loses messages, {} none", peer.entrant));
        }
        let ratios = pairs(&sinew, &peer);
        match ratios.is_empty() {
            true => Err("there is no round of both".to_owned()),
            false => Ok(Comparison { sinew, peer, ratios }),
        }
    }

    /// What no library at all reaches.
    pub(crate) fn bare(&self, row: &Row, condition: Condition) -> Option<f64> {
        let bare = self.ranking(&row.cell, condition, row.value, |run| run.lib == BARE);
        bare.first().map(Reached::median)
    }

    /// The best way to use a library.
    pub(crate) fn best(&self, cell: &Cell, condition: Condition, library: &str) -> Option<String> {
        let is_meant = |run: &Run| run.lib == library;
        let best = self.ranking(cell, condition, cell.value, is_meant).into_iter().next()?;
        Some(best.entrant)
    }

    /// Whether a peer is so far behind that running it again would show nothing.
    pub(crate) fn is_hopeless(&self, cell: &Cell, condition: Condition, entrant: &Entrant) -> bool {
        if matches!(entrant.lib, SINEW | BARE) || cell.value == Value::Extra {
            return false;
        }
        let name = entrant.name();
        let runs = self.runs(cell, condition);
        if runs.iter().all(|run| run.entrant != name) {
            return false;
        }
        let Some(own) = self.reached(cell, condition, cell.value, &name) else { return true };
        let rank = |is_meant: &dyn Fn(&Run) -> bool| {
            self.ranking(cell, condition, cell.value, is_meant).into_iter().next()
        };
        let lag = |best: Option<Reached>| {
            let best = best.map_or(own.median(), |best| best.median());
            match cell.value.more_is_better() {
                true => best / own.median(),
                false => own.median() / best,
            }
        };
        lag(rank(&|run| run.lib != SINEW && run.lib != BARE)) > HOPELESS
            || lag(rank(&|run| run.lib == entrant.lib)) > WORSE
    }
}

/// Whether it was run in this way, or in a variety of it.
fn is_way(run: &Run, way: &str) -> bool {
    match run.entrant.split_once(", ") {
        None => way.is_empty(),
        Some((_, ran)) => !way.is_empty() && ran.starts_with(way),
    }
}

/// The ratios of all rounds that both have.
fn pairs(sinew: &Reached, peer: &Reached) -> Vec<f64> {
    let ratio = |(round, mine): &((usize, u64), f64)| {
        let (_, theirs) = peer.values.iter().find(|(other, _)| other == round)?;
        // A difference of two cells may come out negative, and then a ratio says nothing.
        (*mine > 0.0 && *theirs > 0.0).then_some(mine / theirs)
    };
    sinew.values.iter().filter_map(ratio).collect()
}

/// Of an even number of values the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().checked_sub(1)?;
    Some((sorted[middle / 2] + sorted[middle.div_ceil(2)]) / 2.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::rows;

    fn named(title: &str) -> Row {
        rows().into_iter().find(|row| row.title.starts_with(title)).expect("there is such a row")
    }

    /// Results of a row: entrant, round, rate, lost.
    fn results(row: &Row, runs: &[(&str, u64, f64, u64)]) -> Results {
        let mut results = Results::default();
        for (entrant, round, rate, lost) in runs {
            let library = entrant.split(',').next();
            results.take(
                0,
                json!({
                    "cell": row.cell.id, "entrant": entrant, "library": library, "ver": "1",
                    "condition": "as-is", "round": round, "rcv": rate, "recvd": 1000, "lost": lost,
                }),
            );
        }
        results
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        let row = named("PUSH/PULL tcp 64 B");
        let results = results(
            &row,
            &[
                (SINEW, 0, 20.0, 0),
                (SINEW, 1, 10.0, 0),
                (SINEW, 2, 30.0, 0),
                ("omq, tasks", 0, 10.0, 0),
                ("omq, tasks", 1, 10.0, 0),
                ("omq, tasks", 2, 10.0, 0),
                ("libzmq", 0, 9.0, 0),
            ],
        );
        let comparison = results.compare(&row, Condition::AsIs).expect("there are results");
        assert_eq!(comparison.peer.entrant, "omq, tasks");
        assert_eq!((comparison.ratio(), comparison.ratios), (2.0, vec![2.0, 1.0, 3.0]));
        assert!(results.compare(&row, Condition::Awake).is_err());
    }

    #[test]
    fn who_loses_messages_where_nothing_may_be_lost_is_out() {
        let row = named("PUSH/PULL tcp 64 B");
        let runs =
            [(SINEW, 0, 20.0, 0), ("nng", 0, 90.0, 0), ("nng", 1, 90.0, 1), ("rzmq", 0, 5.0, 0)];
        let comparison =
            results(&row, &runs).compare(&row, Condition::AsIs).expect("there is rzmq");
        assert_eq!((comparison.peer.entrant.as_str(), comparison.ratio()), ("rzmq", 4.0));
    }

    #[test]
    fn a_mode_that_loses_messages_has_no_result_beside_one_that_does_not() {
        let row = named("PUB/SUB tcp 1 KiB, default");
        let compare = |runs: &[_]| results(&row, runs).compare(&row, Condition::AsIs);
        // The fastest peer loses, sinew does not: another peer counts.
        let peer = compare(&[(SINEW, 0, 20.0, 0), ("nng", 0, 90.0, 5), ("rzmq", 0, 5.0, 0)]);
        assert_eq!(peer.expect("there is rzmq").peer.entrant, "rzmq");
        // sinew loses, the fastest peer does not: there is no result.
        compare(&[(SINEW, 0, 20.0, 7), ("nng", 0, 5.0, 5), ("rzmq", 0, 9.0, 0)]).expect_err("rzmq");
        // Both lose.
        let both = compare(&[(SINEW, 0, 20.0, 7), ("nng", 0, 10.0, 5), ("rzmq", 0, 9.0, 0)]);
        assert_eq!(both.expect("nng is the fastest").ratio(), 2.0);
    }

    #[test]
    fn a_row_about_one_way_looks_at_that_way() {
        let row = named("100 REQ to 1 REP tcp 64 B, threads");
        let runs = [
            ("sinew, threads", 0, 8.0, 0),
            ("sinew, tasks, 1 worker", 0, 12.0, 0),
            ("sinew, no spinning", 0, 13.0, 0),
            ("zeromq, 1 worker", 0, 10.0, 0),
        ];
        let comparison =
            results(&row, &runs).compare(&row, Condition::AsIs).expect("both are there");
        assert_eq!(comparison.ratio(), 0.8);
    }

    #[test]
    fn who_is_far_behind_is_not_run_again() {
        let row = named("PUSH/PULL tcp 64 B");
        let results = results(
            &row,
            &[
                (SINEW, 0, 1.0, 0),
                ("omq, tasks", 0, 10.0, 0),
                ("omq, threads", 0, 6.0, 0),
                ("libzmq", 0, 5.0, 0),
                ("nng", 0, 3.0, 0),
                ("rzmq", 0, 50.0, 1),
            ],
        );
        let is_hopeless = |library: &'static str, way| {
            let entrant = Entrant { lib: library, way, options: Vec::new(), k: 1 };
            results.is_hopeless(&row.cell, Condition::AsIs, &entrant)
        };
        assert!(!is_hopeless(SINEW, ""), "what all is about");
        assert!(!is_hopeless("omq", "tasks"), "the best");
        assert!(is_hopeless("omq", "threads"), "another way is better");
        assert!(!is_hopeless("libzmq", ""), "it may still be the best");
        assert!(is_hopeless("nng", ""), "far behind the best");
        assert!(is_hopeless("rzmq", ""), "it loses messages");
        assert!(!is_hopeless("nanomsg", ""), "not run yet");
    }

    #[test]
    fn of_several_files_the_last_counts() {
        let row = named("PUSH/PULL tcp 64 B");
        let mut all = results(&row, &[(SINEW, 0, 10.0, 0), ("omq", 0, 10.0, 0)]);
        all.replace(results(&row, &[(SINEW, 0, 30.0, 0), ("omq", 0, 10.0, 0)]));
        let comparison = all.compare(&row, Condition::AsIs).expect("both are there");
        assert_eq!(comparison.ratios, [3.0]);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
