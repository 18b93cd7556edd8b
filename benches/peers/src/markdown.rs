//! The tables: what is compared, and below it everything that was measured.

use std::fmt::Write;

use crate::results::{Mood, Ratio, Results, Run, median};
use crate::table::{Cell, Row, SINEW};

/// All tables as Markdown.
pub(crate) fn tables(rows: &[Row], cells: &[Cell], results: &Results, notes: &[String]) -> String {
    let mut text = String::from("# sinew and its peers\n\n");
    for note in notes {
        line(&mut text, &format!("* {note}"));
    }
    let (disturbed, all) = results.disturbed();
    if disturbed > 0 {
        line(
            &mut text,
            &format!("* {disturbed} of {all} runs began while the machine was busy otherwise."),
        );
    }
    summary(&mut text, rows, results);
    line(&mut text, "\n## Everything that was measured");
    for cell in cells {
        details(&mut text, cell, results);
    }
    text
}

fn summary(text: &mut String, rows: &[Row], results: &Results) {
    line(text, "\n## Comparisons\n");
    line(
        text,
        "Medians, with the least and the most. A ratio is sinew's median divided by the peer's, of",
    );
    line(text, "runs in the same mood; *mixed* if no mood has two runs of both.\n");
    line(text, "| workload | sinew | against | ratio | target | met | best peer | ratio |");
    line(text, "|---|---|---|---|---|---|---|---|");
    for row in rows {
        let shown = |library| match results.best(row, library, None) {
            Some((name, values)) => format!("{name} {}", spread(&values)),
            None => "none without loss or failure".to_owned(),
        };
        let peer = row.against;
        let ratios = results.ratios(row, peer);
        let target =
            format!("{} {}", if row.value.more_is_better() { "≥" } else { "≤" }, row.target);
        let cells = [
            format!("{} ({})", row.title, row.value.unit()),
            shown(Some(SINEW)),
            shown(peer),
            ratio_text(&ratios),
            target,
            met(row, &ratios).to_owned(),
            shown(None),
            ratio_text(&results.ratios(row, None)),
        ];
        line(text, &format!("| {} |", cells.join(" | ")));
    }
}

fn ratio_text(ratios: &[Ratio]) -> String {
    if ratios.is_empty() {
        return "–".to_owned();
    }
    let one = |ratio: &Ratio| {
        let mood = ratio.mood.map_or("mixed", Mood::name);
        format!("{:.2} ({mood}, {})", ratio.value, ratio.peer)
    };
    ratios.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Only if it is met in each mood that there was.
fn met(row: &Row, ratios: &[Ratio]) -> &'static str {
    let meets = |ratio: &Ratio| match row.value.more_is_better() {
        true => ratio.value >= row.target,
        false => ratio.value <= row.target,
    };
    match ratios {
        [] => "not known",
        [only] if only.mood.is_none() => {
            if meets(only) {
                "yes, moods mixed"
            } else {
                "no, moods mixed"
            }
        }
        all => {
            if all.iter().all(meets) {
                "yes"
            } else {
                "no"
            }
        }
    }
}

/// All of one cell, an entrant and a mood a line.
fn details(text: &mut String, cell: &Cell, results: &Results) {
    let runs = results.runs(&cell.id);
    line(text, &format!("\n### {}\n", cell.id));
    line(
        text,
        "| library | mood | runs | received/s | sent/s | p50 | p90 | p99 | p99.9 | p99.99 µs | CPU µs/msg | calls/msg | peak MiB a, b | KiB a connection | lost |",
    );
    line(text, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.entrant.as_str()) {
            names.push(&run.entrant);
        }
    }
    for name in names {
        for mood in Mood::ALL {
            let alike: Vec<&Run> =
                runs.iter().filter(|run| run.entrant == name && run.mood == mood).collect();
            if !alike.is_empty() {
                let calls = results.calls(&cell.id, name);
                line(text, &details_line(name, mood, &alike, calls));
            }
        }
    }
    for (who, why) in results.failures(&cell.id) {
        line(text, &format!("\n{who} fails: {why}"));
    }
}

fn details_line(name: &str, mood: Mood, runs: &[&Run], calls: Option<f64>) -> String {
    let all = |field: &str| runs.iter().filter_map(|run| run.number(field)).collect::<Vec<f64>>();
    let middle = |field| median(&all(field)).map_or("–".to_owned(), number);
    let mib = |field| median(&all(field)).map_or("–".to_owned(), |kib| number(kib / 1024.0));
    let cpu: Vec<f64> = runs.iter().filter_map(|run| run.cpu()).collect();
    let lost: u64 = runs.iter().map(|run| run.lost).sum();
    let cells = [
        name.to_owned(),
        mood.name().to_owned(),
        runs.len().to_string(),
        spread(&all("rcv")),
        spread(&all("snd")),
        middle("p50"),
        middle("p90"),
        middle("p99"),
        middle("p999"),
        middle("p9999"),
        median(&cpu).map_or("–".to_owned(), number),
        calls.map_or("–".to_owned(), number),
        format!("{}, {}", mib("rss_a"), mib("rss_b")),
        format!("{}, {}", middle("kb_srv"), middle("kb_cli")),
        lost.to_string(),
    ];
    format!("| {} |", cells.join(" | "))
}

/// The median with least and most. If these are far apart, all values: the median of two ways to
/// behave is neither of them.
fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(middle), Some(least), Some(most)) = (median(values), sorted.first(), sorted.last())
    else {
        return "–".to_owned();
    };
    let range = match most / least > 1.5 {
        true => sorted.iter().map(|value| number(*value)).collect::<Vec<_>>().join(", "),
        false => format!("{}–{}", number(*least), number(*most)),
    };
    format!("{} ({range})", number(middle))
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
