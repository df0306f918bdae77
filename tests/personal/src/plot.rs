//! The learning curve as an SVG file: change of the gated loss by lesson tokens.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::arms::BOTH;
use crate::report::mean;
use crate::results::Row;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 50.0;

/// The picture. Both kinds of people, told apart by line and mark as well as by colour.
pub(crate) fn curve(rows: &[Row]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let lines: Vec<(&str, Vec<(f64, f64)>)> = ["persona", "irc"]
        .map(|kind| (kind, points(rows, kind)))
        .into_iter()
        .filter(|(_, p)| !p.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let right = all().map(|(x, _)| x).fold(1_000.0, f64::max);
    let low = all().map(|(_, y)| y).fold(-1.0, f64::min).floor();
    let x = |tokens: f64| LEFT + (WIDTH - LEFT - 20.0) * tokens / right;
    let y = |percent: f64| 20.0 + (HEIGHT - BOTTOM - 20.0) * percent / low;
    let mut percent = 0.0;
    while percent >= low {
        let at = y(percent);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ccc\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{percent} %</text>",
            WIDTH - 20.0,
            LEFT - 8.0,
            at + 4.0
        );
        percent -= 2.0;
    }
    let mut tokens = 0.0;
    while tokens <= right {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tokens}</text>",
            x(tokens),
            HEIGHT - BOTTOM + 18.0
        );
        tokens += 1_000.0;
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">lesson tokens; change of gated NLL on unseen conversations</text>",
        WIDTH / 2.0,
        HEIGHT - 10.0
    );
    for ((kind, points), (colour, dash)) in lines.iter().zip([("#0b5394", "none"), ("#b45f06", "6 4")]) {
        let path: Vec<String> = points.iter().map(|(t, p)| format!("{:.1},{:.1}", x(*t), y(*p))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
            path.join(" ")
        );
        if let Some((t, p)) = points.last() {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{kind}</text>",
                x(*t),
                y(*p) - 8.0
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Mean change by tokens: nothing learned, the first so many, everything.
fn points(rows: &[Row], kind: &str) -> Vec<(f64, f64)> {
    let mut by: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut whole = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|r| r.kind == kind && r.seed == 1) {
        if let Some(room) = row.arm.strip_prefix("first ").and_then(|room| room.parse().ok()) {
            by.entry(room).or_default().push(row.all.gated_percent());
        } else if row.arm == BOTH {
            whole.0.push(row.lessons as f64);
            whole.1.push(row.all.gated_percent());
        }
    }
    if by.is_empty() {
        return Vec::new();
    }
    let first = by.into_iter().map(|(room, values)| (room as f64, mean(&values)));
    let last = (!whole.0.is_empty()).then(|| (mean(&whole.0), mean(&whole.1)));
    let mut out: Vec<(f64, f64)> = [(0.0, 0.0)].into_iter().chain(first).chain(last).collect();
    out.sort_by(|a, b| a.0.total_cmp(&b.0));
    out
}
