//! `docs/performance.md` has the tables that `benches/peers` makes: a line for each comparison, its goal, and
//! "reached" only where the ratio says so.

use std::fs;
use std::path::Path;

#[allow(dead_code, reason = "what is needed to measure is not needed to compare")]
#[path = "../benches/peers/src/table.rs"]
mod table;

use table::{COLUMNS, Condition, Row, rows};

const BEGIN: &str = "<!-- made by benches/peers: begin -->";
const END: &str = "<!-- made by benches/peers: end -->";

#[test]
fn the_tables_have_each_comparison_and_claim_no_more_than_it_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let page = fs::read_to_string(page).expect("the page");
    assert_eq!(faults(&page), Vec::<String>::new());
}

/// Each kind of fault is found: the page itself is made with one, and looked at.
#[test]
fn a_page_that_was_written_by_hand_is_noticed() {
    let good = made(|_, line| Some(line));
    assert_eq!(faults(&good), Vec::<String>::new());
    let first =
        |condition, row: &str| condition == Condition::AsIs && row.starts_with("PUSH/PULL tcp 8 B");
    let without = made(|at, line| (!first(at, &line.label)).then_some(line));
    assert_eq!(faults(&without).len(), 1, "a line is missing");
    let change = |change: fn(&mut Line)| {
        made(|at, mut line| {
            if first(at, &line.label) {
                change(&mut line);
            }
            Some(line)
        })
    };
    assert_eq!(faults(&change(|line| line.goal = "≥ 1".to_owned())).len(), 1, "an easier goal");
    assert_eq!(faults(&change(|line| line.reached = "yes".to_owned())).len(), 1, "not reached");
    assert_eq!(faults(&change(|line| line.ratio = "2.50".to_owned())).len(), 1, "it is reached");
    assert_eq!(faults(&change(|line| line.ratio = "none: lost".to_owned())).len(), 0, "a reason");
}

/// What is wrong with a page.
fn faults(page: &str) -> Vec<String> {
    let part = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let Some((part, _)) = part else { return vec!["the marks are missing".to_owned()] };
    Condition::ALL.into_iter().flat_map(|condition| faults_of(part, condition)).collect()
}

fn faults_of(part: &str, condition: Condition) -> Vec<String> {
    let heading = format!("### {}\n\n{COLUMNS}\n", condition.title());
    let Some((_, table)) = part.split_once(&heading) else {
        return vec![format!("there is no table under {}", condition.title())];
    };
    let lines: Vec<Line> = table.lines().skip(1).map_while(Line::parse).collect();
    let meant = rows().into_iter().filter(|row| row.cell.is_run_in(condition));
    meant.filter_map(|row| fault(&row, condition, &lines)).collect()
}

fn fault(row: &Row, condition: Condition, lines: &[Line]) -> Option<String> {
    let label = row.label();
    let title = condition.title();
    let Some(line) = lines.iter().find(|line| line.label == label) else {
        return Some(format!("{title}: no line {label:?}"));
    };
    if line.goal != row.goal_label(condition) {
        return Some(format!("{title}: {label:?} has the goal {:?}", line.goal));
    }
    let is_reached = line.reached == "yes";
    let Some(ratio) = line.number() else {
        // Instead of a ratio there is the reason why there is none.
        return is_reached.then(|| format!("{title}: {label:?} is reached without a ratio"));
    };
    // Two digits of the ratio are shown.
    let may_be = |ratio| row.is_reached(condition, ratio) == is_reached;
    let is_sound = may_be(ratio - 0.005) || may_be(ratio + 0.005);
    (!is_sound).then(|| format!("{title}: {label:?} has {ratio} and says {:?}", line.reached))
}

/// The fields of a line that say something about a goal.
#[derive(Clone, Debug)]
struct Line {
    label: String,
    ratio: String,
    goal: String,
    reached: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
        let field = |at: usize| fields.get(at).map(|field| field.trim().to_owned());
        Some(Self { label: field(0)?, ratio: field(3)?, goal: field(4)?, reached: field(5)? })
    }

    /// The ratio, which stands in bold letters before its range.
    fn number(&self) -> Option<f64> {
        self.ratio.trim_start_matches("**").split("**").next()?.parse().ok()
    }
}

/// A page with all lines, none of them reached, as `change` makes them.
fn made(change: impl Fn(Condition, Line) -> Option<Line>) -> String {
    let mut page = BEGIN.to_owned();
    for condition in Condition::ALL {
        page += &format!("\n### {}\n\n{COLUMNS}\n|---|", condition.title());
        for row in rows().into_iter().filter(|row| row.cell.is_run_in(condition)) {
            let ratio = if row.value.more_is_better() { "**0.10**" } else { "**9.90** (9–10)" };
            let line = Line {
                label: row.label(),
                ratio: ratio.to_owned(),
                goal: row.goal_label(condition),
                reached: "no".to_owned(),
            };
            if let Some(Line { label, ratio, goal, reached }) = change(condition, line) {
                page +=
                    &format!("\n| {label} | 1 | 2 | {ratio} | {goal} | {reached} | 1 : 2 = 0.50 |");
            }
        }
        page += "\n\n0 of 25 goals are reached.\n";
    }
    page + END
}
