//! Reads what was measured, and compares like with like.

use std::collections::HashMap;
use std::path::Path;
use std::{fs, io};

use serde_json::Value as Json;

use crate::table::{BARE, Row, SINEW, Value};

/// How the machine was disposed: how fast its processors exchange a cache line.
///
/// On the machine this was written on a round trip takes 0.08 to 0.10 µs, or 0.2 to 0.3, or 0.4 to 0.52,
/// each for seconds or minutes, and what threads do together differs by a factor of two between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mood {
    Near,
    Middling,
    Far,
}

impl Mood {
    pub(crate) const ALL: [Self; 3] = [Self::Near, Self::Middling, Self::Far];

    fn of(probe: f64) -> Self {
        match probe {
            p if p < 0.15 => Self::Near,
            p if p < 0.35 => Self::Middling,
            _ => Self::Far,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Middling => "middling",
            Self::Far => "far",
        }
    }
}

/// One run of one entrant.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) entrant: String,
    pub(crate) library: String,
    pub(crate) mood: Mood,
    pub(crate) lost: u64,
    fields: Json,
}

impl Run {
    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.fields[field].as_f64()
    }

    /// Microseconds of processor time for each message, all processes together.
    pub(crate) fn cpu(&self) -> Option<f64> {
        let both = self.number("cpu_a")? + self.number("cpu_b")?;
        Some(both * 1e6 / self.number("recvd")?).filter(|cpu| cpu.is_finite())
    }
}

/// All that was measured, by cell.
pub(crate) struct Results {
    runs: HashMap<String, Vec<Run>>,
    failures: HashMap<(String, String), String>,
    calls: HashMap<(String, String), f64>,
}

impl Results {
    pub(crate) fn read(raw: &Path) -> io::Result<Self> {
        let mut results =
            Self { runs: HashMap::new(), failures: HashMap::new(), calls: HashMap::new() };
        for line in fs::read_to_string(raw)?.lines() {
            results.take(serde_json::from_str(line)?);
        }
        Ok(results)
    }

    fn take(&mut self, fields: Json) {
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let key = (text("cell"), text("entrant"));
        if let Some(calls) = fields["calls"].as_f64() {
            self.calls.insert(key, calls);
        } else if let Some(why) = fields["fail"].as_str() {
            self.failures.insert(key, why.to_owned());
        } else {
            let mood = Mood::of(fields["probe_us"].as_f64().unwrap_or(f64::MAX));
            let lost = fields["lost"].as_u64().unwrap_or(0);
            let (entrant, library) = (text("entrant"), text("library"));
            let run = Run { entrant, library, mood, lost, fields };
            self.runs.entry(key.0).or_default().push(run);
        }
    }

    /// Of how many runs how many began while something else used a fifth of the processors or more.
    pub(crate) fn disturbed(&self) -> (usize, usize) {
        let busy = |run: &&Run| run.number("busy").is_some_and(|share| share >= 0.2);
        let all = || self.runs.values().flatten();
        (all().filter(busy).count(), all().count())
    }

    pub(crate) fn runs(&self, cell: &str) -> &[Run] {
        self.runs.get(cell).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn calls(&self, cell: &str, entrant: &str) -> Option<f64> {
        self.calls.get(&(cell.to_owned(), entrant.to_owned())).copied()
    }

    /// Who failed in a cell, and why.
    pub(crate) fn failures(&self, cell: &str) -> Vec<(&str, &str)> {
        let of_cell = self.failures.iter().filter(|((failed_in, _), _)| failed_in == cell);
        let mut all: Vec<_> = of_cell.map(|((_, who), why)| (who.as_str(), why.as_str())).collect();
        all.sort_unstable();
        all
    }

    /// The numbers of a row for an entrant, in any mood or in one.
    pub(crate) fn values(&self, row: &Row, entrant: &str, mood: Option<Mood>) -> Vec<f64> {
        let usable = |run: &&Run| {
            run.entrant == entrant
                && mood.is_none_or(|mood| run.mood == mood)
                && !(row.cell.lossless && run.lost > 0)
        };
        let field = match row.value {
            Value::Received => "rcv",
            Value::Sent => "snd",
            Value::P50 => "p50",
            Value::P99 => "p99",
            Value::Memory => "kb_srv",
            Value::Extra { than } => {
                let base = self.runs(than).iter().filter(usable).filter_map(subscriber_cpu);
                let Some(base) = median(&base.collect::<Vec<_>>()) else { return Vec::new() };
                let runs = self.runs(&row.cell.id).iter().filter(usable);
                return runs.filter_map(subscriber_cpu).map(|cpu| cpu - base).collect();
            }
        };
        let runs = self.runs(&row.cell.id).iter().filter(usable);
        runs.filter_map(|run| run.number(field)).collect()
    }

    /// The best way of a library, or of all peers if none is named, with its numbers.
    pub(crate) fn best(
        &self,
        row: &Row,
        library: Option<&str>,
        mood: Option<Mood>,
    ) -> Option<(String, Vec<f64>)> {
        let mut names: Vec<&Run> = self.runs(&row.cell.id).iter().collect();
        let is_peer = |library: &str| library != SINEW && library != BARE;
        names.retain(|run| library.map_or(is_peer(&run.library), |wanted| run.library == wanted));
        names.sort_by(|a, b| a.entrant.cmp(&b.entrant));
        names.dedup_by(|a, b| a.entrant == b.entrant);
        let with_values = names
            .into_iter()
            .map(|run| (run.entrant.clone(), self.values(row, &run.entrant, mood)));
        let sign = if row.value.more_is_better() { 1.0 } else { -1.0 };
        let merit =
            |values: &[f64]| median(values).map_or(f64::NEG_INFINITY, |median| sign * median);
        with_values
            .filter(|(_, values)| !values.is_empty())
            .max_by(|(_, a), (_, b)| merit(a).total_cmp(&merit(b)))
    }

    /// How sinew's median stands to a peer's: in each mood that has two runs of both, or if there is
    /// none over all runs.
    pub(crate) fn ratios(&self, row: &Row, peer: Option<&str>) -> Vec<Ratio> {
        let ratio = |mood, least| {
            let (_, mine) = self.best(row, Some(SINEW), mood)?;
            let (name, theirs) = self.best(row, peer, mood)?;
            let enough = mine.len() >= least && theirs.len() >= least;
            let (mine, theirs) = (median(&mine)?, median(&theirs)?);
            // A difference of two cells may come out negative, and then a ratio says nothing.
            let sound = enough && mine > 0.0 && theirs > 0.0;
            sound.then_some(Ratio { mood, peer: name, value: mine / theirs })
        };
        let alike: Vec<Ratio> =
            Mood::ALL.into_iter().filter_map(|mood| ratio(Some(mood), 2)).collect();
        match alike.is_empty() {
            true => ratio(None, 1).into_iter().collect(),
            false => alike,
        }
    }
}

/// What sinew's number is, divided by a peer's.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    /// `None`: fewer than two runs of both in any mood, so unlike runs are compared.
    pub(crate) mood: Option<Mood>,
    pub(crate) peer: String,
    pub(crate) value: f64,
}

/// Microseconds of the SUB's processor time for each message.
fn subscriber_cpu(run: &Run) -> Option<f64> {
    Some(run.number("cpu_b")? * 1e6 / run.number("recvd")?)
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

    /// Results of the first row, whose target is libzmq: library, probe, rate, lost.
    fn results(runs: &[(&str, f64, f64, u64)]) -> (Row, Results) {
        let row = rows().remove(0);
        let mut results =
            Results { runs: HashMap::new(), failures: HashMap::new(), calls: HashMap::new() };
        for (library, probe, rate, lost) in runs {
            results.take(json!({
                "cell": row.cell.id, "entrant": library, "library": library,
                "probe_us": probe, "rcv": rate, "lost": lost,
            }));
        }
        (row, results)
    }

    #[test]
    fn runs_are_compared_within_a_mood() {
        let (row, results) = results(&[
            (SINEW, 0.09, 20.0, 0),
            (SINEW, 0.10, 22.0, 0),
            (SINEW, 0.50, 2.0, 0),
            ("libzmq", 0.09, 7.0, 0),
            ("libzmq", 0.09, 7.0, 0),
            ("libzmq", 0.50, 4.0, 0),
        ]);
        let ratios = results.ratios(&row, Some("libzmq"));
        assert_eq!(ratios.len(), 1);
        assert_eq!((ratios[0].mood, ratios[0].value), (Some(Mood::Near), 3.0));
    }

    #[test]
    fn without_two_like_runs_of_both_the_moods_are_mixed() {
        let (row, results) =
            results(&[(SINEW, 0.09, 20.0, 0), (SINEW, 0.09, 20.0, 0), ("libzmq", 0.5, 4.0, 0)]);
        let ratios = results.ratios(&row, Some("libzmq"));
        assert_eq!((ratios[0].mood, ratios[0].value), (None, 5.0));
    }

    #[test]
    fn who_loses_messages_is_not_compared_with() {
        let (row, results) =
            results(&[(SINEW, 0.09, 20.0, 0), ("nng", 0.09, 90.0, 1), ("rzmq", 0.09, 5.0, 0)]);
        assert_eq!(results.best(&row, None, None), Some(("rzmq".to_owned(), vec![5.0])));
        assert!(results.ratios(&row, Some("nng")).is_empty());
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
