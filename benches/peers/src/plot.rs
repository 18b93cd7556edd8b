//! The plots: throughput by message size, and the distribution of round trips, as SVG.

use std::fmt::Write;

use crate::results::{Results, median};
use crate::table::{Cell, Condition, LIBRARIES};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// Around the axes: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (80.0, 130.0, 40.0, 60.0);

/// One colour for each of `LIBRARIES`, also told apart by those who see fewer colours.
const COLOURS: [&str; 8] =
    ["#d55e00", "#0072b2", "#56b4e9", "#7fb3d5", "#009e73", "#cc79a7", "#8c8c00", "#000000"];

/// A line of a plot: a place on the x axis, the median, the least and the most.
struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<(usize, [f64; 3])>,
}

/// A plot whose x axis has named places and whose y axis is logarithmic.
struct Plot {
    title: &'static str,
    y_title: &'static str,
    places: Vec<String>,
    lines: Vec<Line>,
}

/// PUSH/PULL over tcp, for each size that was measured.
pub(crate) fn throughput(cells: &[Cell], results: &Results) -> String {
    let mut sized: Vec<&Cell> = cells
        .iter()
        .filter(|cell| (cell.metric, cell.pattern, cell.transport) == ("thr", "pushpull", "tcp"))
        .collect();
    sized.sort_by_key(|cell| cell.size);
    let points = |library| {
        let of_cell =
            |(place, cell): (usize, &&Cell)| Some((place, spread(results, cell, library, "rcv")?));
        sized.iter().enumerate().filter_map(of_cell).collect()
    };
    Plot {
        title: "PUSH/PULL over tcp",
        y_title: "messages a second",
        places: sized.iter().map(|cell| size_name(cell.size)).collect(),
        lines: lines(points),
    }
    .draw()
}

/// REQ/REP over tcp with 64 bytes.
pub(crate) fn latency(cells: &[Cell], results: &Results) -> String {
    const PARTS: [(&str, &str); 5] = [
        ("p50", "50 %"),
        ("p90", "90 %"),
        ("p99", "99 %"),
        ("p999", "99.9 %"),
        ("p9999", "99.99 %"),
    ];
    let cell = cells.iter().find(|cell| cell.id == "lat reqrep tcp 64");
    let points = |library| {
        let of_part = |(place, (field, _)): (usize, &(&str, &str))| {
            Some((place, spread(results, cell?, library, field)?))
        };
        PARTS.iter().enumerate().filter_map(of_part).collect()
    };
    Plot {
        title: "REQ/REP over tcp, 64 B: so many round trips take at most",
        y_title: "µs",
        places: PARTS.iter().map(|(_, name)| (*name).to_owned()).collect(),
        lines: lines(points),
    }
    .draw()
}

/// What a library reached in its best way, in the machine as it is.
fn spread(results: &Results, cell: &Cell, library: &str, field: &str) -> Option<[f64; 3]> {
    let best = results.best(cell, Condition::AsIs, library)?;
    let runs = results.runs(cell, Condition::AsIs).iter().filter(|run| run.entrant == best);
    let values: Vec<f64> = runs.filter_map(|run| run.number(field)).filter(|v| *v > 0.0).collect();
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    Some([median(&values)?, least, most])
}

fn lines(points: impl Fn(&'static str) -> Vec<(usize, [f64; 3])>) -> Vec<Line> {
    let all = LIBRARIES.into_iter().zip(COLOURS);
    let lines = all.map(|(name, colour)| Line { name, colour, points: points(name) });
    lines.filter(|line| !line.points.is_empty()).collect()
}

fn size_name(size: usize) -> String {
    match size {
        size if size >= 1 << 20 => format!("{} MiB", size >> 20),
        size if size >= 1 << 10 => format!("{} KiB", size >> 10),
        size => format!("{size} B"),
    }
}

impl Plot {
    fn draw(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, (WIDTH / 2.0, 24.0), "middle", self.title);
        text(&mut svg, (12.0, MARGIN.2 - 10.0), "start", self.y_title);
        self.axes(&mut svg);
        for (number, line) in self.lines.iter().enumerate() {
            self.line(&mut svg, number, line);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The powers of ten that all values are between.
    fn decades(&self) -> (f64, f64) {
        let values =
            || self.lines.iter().flat_map(|line| &line.points).flat_map(|(_, values)| values);
        let least = values().copied().fold(f64::MAX, f64::min).max(1e-3);
        let most = values().copied().fold(1e-3, f64::max);
        (
            least.min(most).log10().floor(),
            most.log10().ceil().max(least.min(most).log10().floor() + 1.0),
        )
    }

    fn x(&self, place: usize) -> f64 {
        let steps = (self.places.len().max(2) - 1) as f64;
        MARGIN.0 + 20.0 + (WIDTH - MARGIN.0 - MARGIN.1 - 40.0) * place as f64 / steps
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.decades();
        let part = (value.log10() - low) / (high - low);
        HEIGHT - MARGIN.3 - part * (HEIGHT - MARGIN.2 - MARGIN.3)
    }

    fn axes(&self, svg: &mut String) {
        let (low, high) = self.decades();
        let mut power = low;
        while power <= high {
            for digit in [1.0, 2.0, 5.0] {
                let value = digit * 10f64.powf(power);
                if value <= 10f64.powf(high) {
                    let y = self.y(value);
                    stroke(svg, (MARGIN.0, y), (WIDTH - MARGIN.1, y), "#dddddd", 1.0);
                    text(svg, (MARGIN.0 - 8.0, y + 4.0), "end", &short(value));
                }
            }
            power += 1.0;
        }
        for (place, name) in self.places.iter().enumerate() {
            text(svg, (self.x(place), HEIGHT - MARGIN.3 + 22.0), "middle", name);
        }
    }

    fn line(&self, svg: &mut String, number: usize, line: &Line) {
        for pair in line.points.windows(2) {
            let [(from, [start, ..]), (to, [end, ..])] = pair else { continue };
            let ends = ((self.x(*from), self.y(*start)), (self.x(*to), self.y(*end)));
            stroke(svg, ends.0, ends.1, line.colour, 2.0);
        }
        for (place, [middle, least, most]) in &line.points {
            let x = self.x(*place);
            stroke(svg, (x, self.y(*least)), (x, self.y(*most)), line.colour, 1.0);
            let (y, colour) = (self.y(*middle), line.colour);
            put(svg, &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"));
        }
        let y = MARGIN.2 + 20.0 * number as f64 + 10.0;
        let x = WIDTH - MARGIN.1 + 16.0;
        stroke(svg, (x, y - 4.0), (x + 20.0, y - 4.0), line.colour, 3.0);
        text(svg, (x + 26.0, y), "start", line.name);
    }
}

fn stroke(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let ends = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    put(svg, &format!("<line {ends} stroke=\"{colour}\" stroke-width=\"{width}\"/>"));
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    put(svg, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"));
}

fn put(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("memory is enough");
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", (v / 1e3).round()),
        v => format!("{}", (v * 1000.0).round() / 1000.0),
    }
}
