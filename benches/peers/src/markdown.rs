//! The tables: what is compared, for a page of the documentation, and everything that was measured.

use std::fmt::Write;

use crate::results::{Comparison, Reached, Results, Run, median};
use crate::table::{COLUMNS, Cell, Condition, NO_SPINNING, Row, Value};

/// Between these lines of a page the comparisons stand.
pub(crate) const BEGIN: &str = "<!-- made by benches/peers: begin -->";
pub(crate) const END: &str = "<!-- made by benches/peers: end -->";

/// What sinew's processor time for a message is meant to be of the peer's, where sinew is in front.
const CPU_GOAL: f64 = 0.7;

/// The comparisons, for a page: a table for each condition.
pub(crate) fn comparisons(rows: &[Row], results: &Results) -> String {
    let mut text = String::new();
    preface(&mut text, results);
    for condition in Condition::ALL {
        let measured = |row: &&Row| !results.runs(&row.cell, condition).is_empty();
        let rows: Vec<&Row> = rows.iter().filter(measured).collect();
        if !rows.is_empty() {
            comparison_table(&mut text, &rows, condition, results);
        }
    }
    spinning(&mut text, rows, results);
    text
}

/// What spinning gains and what it costs.
fn spinning(text: &mut String, rows: &[Row], results: &Results) {
    let mut lines = Vec::new();
    for row in rows {
        for condition in Condition::ALL {
            let with = results.sinew(row, condition, row.way);
            let without = results.sinew(row, condition, NO_SPINNING);
            // Two rows of one cell compare one of its ways each.
            if let (Some(with), Some(without)) = (with, without)
                && row.way != "tasks"
            {
                let figure = |it: &Reached| median(&it.numbers()).map_or("–".to_owned(), number);
                let cpu = |it: &Reached| it.cpu.map_or("–".to_owned(), number);
                let fields = [
                    row.label(),
                    condition.name().to_owned(),
                    figure(&with),
                    figure(&without),
                    cpu(&with),
                    cpu(&without),
                ];
                lines.push(format!("| {} |", fields.join(" | ")));
            }
        }
    }
    if lines.is_empty() {
        return;
    }
    line(text, "\n### What spinning costs\n");
    line(
        text,
        "By default, and with `Options::spin(Duration::ZERO)`; processor time of both ends for a message.\n",
    );
    line(text, "| workload | condition | spinning | not | processor time spinning, µs | not, µs |");
    line(text, "|---|---|---|---|---|---|");
    line(text, &lines.join("\n"));
}

fn preface(text: &mut String, results: &Results) {
    for about in &results.about {
        line(text, &format!("* {about}"));
    }
    let versions = results.versions().map(|(library, version)| format!("{library} {version}"));
    line(text, &format!("* {}", versions.collect::<Vec<_>>().join(", ")));
    let (disturbed, all) = results.disturbed();
    let rounds = results.rounds();
    let disturbed = match disturbed {
        0 => "while the machine did nothing else".to_owned(),
        some => format!("of which {some} began while the machine was busy otherwise"),
    };
    line(text, &format!("* {all} runs, up to {rounds} rounds, {disturbed}"));
}

/// Counts what is reached.
#[derive(Default)]
struct Tally {
    goals: usize,
    reached: usize,
    in_front: usize,
    cheap: usize,
}

impl Tally {
    fn add(&mut self, row: &Row, condition: Condition, comparison: Option<&Comparison>) {
        self.goals += 1;
        let Some(comparison) = comparison else { return };
        let ratio = comparison.ratio();
        self.reached += usize::from(row.is_reached(condition, ratio));
        let in_front = if row.value.more_is_better() { ratio > 1.0 } else { ratio < 1.0 };
        if let Some(cpu) = comparison.cpu_ratio().filter(|_| in_front) {
            self.in_front += 1;
            self.cheap += usize::from(cpu <= CPU_GOAL);
        }
    }
}

fn comparison_table(text: &mut String, rows: &[&Row], condition: Condition, results: &Results) {
    line(text, &format!("\n### {}\n\n{COLUMNS}", condition.title()));
    line(text, &format!("|{}", "---|".repeat(COLUMNS.matches('|').count() - 1)));
    let mut tally = Tally::default();
    for row in rows {
        let compared = results.compare(row, condition);
        tally.add(row, condition, compared.as_ref().ok());
        let fields = match &compared {
            Ok(comparison) => compared_fields(row, condition, comparison),
            Err(why) => [
                String::new(),
                String::new(),
                format!("none: {why}"),
                "no".to_owned(),
                String::new(),
            ],
        };
        let [sinew, peer, ratio, reached, cpu] = fields;
        let (label, goal) = (row.label(), row.goal_label(condition));
        let fields = [label, sinew, peer, ratio, goal, reached, cpu];
        line(text, &format!("| {} |", fields.join(" | ")));
    }
    let Tally { goals, reached, in_front, cheap } = tally;
    line(
        text,
        &format!(
            "\n{reached} of {goals} goals are reached. Of the {in_front} rows in which sinew is in front it takes \
         at most {CPU_GOAL} of the peer's processor time in {cheap}."
        ),
    );
    if let Some(floor) = floor(rows, condition, results) {
        line(text, &floor);
    }
}

/// What questions and answers take without any library.
fn floor(rows: &[&Row], condition: Condition, results: &Results) -> Option<String> {
    // Two ways to use sinew are two rows of one cell, in which no library is used in one way.
    let mut cells: Vec<&Row> = rows.to_vec();
    cells.dedup_by(|a, b| a.cell.id == b.cell.id);
    let bare = |row: &&Row| {
        let bare = results.bare(row, condition)?;
        Some(format!("{} {} for \"{}\"", number(bare), row.value.unit(), row.title))
    };
    let floors: Vec<String> = cells.iter().filter_map(bare).collect();
    let floors = floors.join(", ");
    (!floors.is_empty()).then(|| {
        format!("Sockets of the system behind a poll, with no library at all, reach {floors}.")
    })
}

/// sinew, best peer, ratio, reached, processor time.
fn compared_fields(row: &Row, condition: Condition, comparison: &Comparison) -> [String; 5] {
    let Comparison { sinew, peer, ratios } = comparison;
    let ratio = comparison.ratio();
    let cpu = match (sinew.cpu, peer.cpu, comparison.cpu_ratio()) {
        (Some(mine), Some(theirs), Some(ratio)) => {
            format!("{} : {} = {ratio:.2}", number(mine), number(theirs))
        }
        _ => "–".to_owned(),
    };
    let reached = if row.is_reached(condition, ratio) { "yes" } else { "no" };
    let range = range(ratios, |ratio| format!("{ratio:.2}"));
    [shown(sinew), shown(peer), format!("**{ratio:.2}**{range}"), reached.to_owned(), cpu]
}

/// Who it is, the median, and what was lost.
fn shown(reached: &Reached) -> String {
    let middle = median(&reached.numbers()).map_or("–".to_owned(), number);
    let lost = match reached.lost {
        0.0 => String::new(),
        part => format!(", {:.0} % lost", (part * 100.0).max(1.0)),
    };
    let name = reached.entrant.as_str();
    let name = name.strip_prefix("sinew, ").unwrap_or(name.strip_prefix("sinew").unwrap_or(name));
    match name {
        "" => format!("{middle}{lost}"),
        name => format!("{middle} ({name}{lost})"),
    }
}

/// A page with the comparisons between its marks; fails if it has no marks.
pub(crate) fn into_page(page: &str, comparisons: &str) -> Result<String, String> {
    let part = |mark| page.split_once(mark).ok_or(format!("the page has no line {mark}"));
    let ((before, _), (_, after)) = (part(BEGIN)?, part(END)?);
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", comparisons.trim()))
}

/// Everything as Markdown.
pub(crate) fn everything(
    rows: &[Row],
    cells: &[Cell],
    results: &Results,
    notes: &[String],
) -> String {
    let mut text = String::from("# sinew and its peers\n\n");
    for note in notes {
        line(&mut text, &format!("* {note}"));
    }
    text.push_str(&comparisons(rows, results));
    line(&mut text, "\n## Everything that was measured");
    for cell in cells {
        details(&mut text, cell, results);
    }
    text
}

/// All of one cell, an entrant and a condition a line.
fn details(text: &mut String, cell: &Cell, results: &Results) {
    line(text, &format!("\n### {}\n", cell.id));
    line(
        text,
        "| library | condition | runs | received/s | sent/s | p50 | p90 | p99 | p99.9 | p99.99 µs | CPU µs/msg | calls/msg | peak MiB a, b | KiB a connection | lost | probe µs |",
    );
    line(text, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for condition in Condition::ALL {
        let runs = results.runs(cell, condition);
        let mut names: Vec<&str> = Vec::new();
        for run in runs {
            if !names.contains(&run.entrant.as_str()) {
                names.push(&run.entrant);
            }
        }
        for name in names {
            let runs: Vec<&Run> = runs.iter().filter(|run| run.entrant == name).collect();
            let calls = results.calls(cell, name);
            line(text, &details_line(cell, name, condition, &runs, calls));
        }
    }
    for (who, why) in results.failures(cell) {
        line(text, &format!("\n{who} fails: {why}"));
    }
}

fn details_line(
    cell: &Cell,
    name: &str,
    condition: Condition,
    runs: &[&Run],
    calls: Option<f64>,
) -> String {
    let all = |field: &str| runs.iter().filter_map(|run| run.number(field)).collect::<Vec<f64>>();
    let middle = |field| median(&all(field)).map_or("–".to_owned(), number);
    let mib = |field| median(&all(field)).map_or("–".to_owned(), |kib| number(kib / 1024.0));
    let cpu: Vec<f64> = runs.iter().filter_map(|run| run.cpu()).collect();
    let lost: u64 = runs.iter().map(|run| run.lost).sum();
    let p50 = match cell.value {
        Value::P50 => spread(&all("p50")),
        _ => middle("p50"),
    };
    let fields = [
        name.to_owned(),
        condition.name().to_owned(),
        runs.len().to_string(),
        spread(&all("rcv")),
        middle("snd"),
        p50,
        middle("p90"),
        middle("p99"),
        middle("p999"),
        middle("p9999"),
        median(&cpu).map_or("–".to_owned(), number),
        calls.map_or("–".to_owned(), number),
        format!("{}, {}", mib("rss_a"), mib("rss_b")),
        format!("{}, {}", middle("kb_srv"), middle("kb_cli")),
        lost.to_string(),
        middle("probe_us"),
    ];
    format!("| {} |", fields.join(" | "))
}

/// The median with least and most.
fn spread(values: &[f64]) -> String {
    let middle = median(values).map_or("–".to_owned(), number);
    format!("{middle}{}", range(values, number))
}

/// Least and most; nothing if there is one value or none.
fn range(values: &[f64], text: impl Fn(f64) -> String) -> String {
    let least = values.iter().copied().reduce(f64::min);
    let most = values.iter().copied().reduce(f64::max);
    match (least, most) {
        (Some(least), Some(most)) if values.len() > 1 => {
            format!(" ({}–{})", text(least), text(most))
        }
        _ => String::new(),
    }
}

/// Three digits, in thousands or millions if it is large.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2}M", value / 1e6),
        v if v >= 1e5 => format!("{:.0}k", value / 1e3),
        v if v >= 1e4 => format!("{:.1}k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("memory is enough");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_around_the_marks() {
        let page = format!("before\n\n{BEGIN}\nold\n{END}\n\nafter\n");
        let new = into_page(&page, "new\n").expect("it has the marks");
        assert_eq!(new, format!("before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"));
        into_page("no marks", "new").expect_err("it has no marks");
    }
}
