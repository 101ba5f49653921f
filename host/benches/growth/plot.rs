//! A picture of lines over logarithmic axes, as SVG; readable on light ground and on dark.

use std::fmt::Write as _;

/// One line.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Both above 0.
    pub(crate) points: Vec<(f64, f64)>,
}

/// One of the panels beside each other.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// Pixels of a panel, and of its margins: left, right, top, bottom.
const PANEL: (f64, f64) = (400.0, 300.0);
const MARGIN: (f64, f64, f64, f64) = (56.0, 32.0, 56.0, 44.0);

/// Colours of lines on light ground and on dark; no two differ in colour alone (see [`MARKS`]).
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600}.g{stroke:#d0d7de}\
    .l{fill:none;stroke-width:2}.s0{stroke:#0969da}.s1{stroke:#bc4c00}.m0{fill:#0969da}.m1{fill:#bc4c00}.b{fill:#ffffff}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#30363d}.s0{stroke:#58a6ff}.s1{stroke:#f0883e}\
    .m0{fill:#58a6ff}.m1{fill:#f0883e}.b{fill:#0d1117}}";
/// Dashes of the lines.
const MARKS: [&str; 2] = ["", " stroke-dasharray=\"7 4\""];

/// The whole picture.
pub(crate) fn svg(below: &str, plots: &[Plot]) -> String {
    let (width, height) = (PANEL.0 * plots.len() as f64, PANEL.1);
    let names: Vec<&str> =
        plots.first().map(|plot| plot.lines.iter().map(|line| line.name.as_str()).collect()).unwrap();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
        aria-label=\"{}; {}\"><style>{STYLE}</style><rect class=\"b\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>",
        plots.iter().map(|plot| plot.title.as_str()).collect::<Vec<_>>().join(" and "),
        names.join(", ")
    );
    for (at, plot) in plots.iter().enumerate() {
        let _ = write!(out, "<g transform=\"translate({} 0)\">", PANEL.0 * at as f64);
        panel(&mut out, below, plot);
        out.push_str("</g>");
    }
    out.push_str("</svg>\n");
    out
}

/// Powers of ten that hold all of these.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    (low, high.max(low + 1))
}

fn panel(out: &mut String, below: &str, plot: &Plot) {
    let (left, right, top, bottom) = MARGIN;
    let points = || plot.lines.iter().flat_map(|line| line.points.iter().copied());
    let (across, up) = (decades(points().map(|(x, _)| x)), decades(points().map(|(_, y)| y)));
    let part = |value: f64, (low, high): (i32, i32)| (value.log10() - f64::from(low)) / f64::from(high - low);
    let x = |value: f64| left + part(value, across) * (PANEL.0 - left - right);
    let y = |value: f64| PANEL.1 - bottom - part(value, up) * (PANEL.1 - top - bottom);
    let _ = write!(out, "<text class=\"t\" x=\"{left}\" y=\"20\">{}</text>", plot.title);
    for power in across.0..=across.1 {
        let (at, low, high) = (x(10_f64.powi(power)), PANEL.1 - bottom, top);
        let _ = write!(out, "<path class=\"g\" d=\"M{at:.1} {low}V{high}\"/>");
        let _ = write!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", low + 18.0, tick(power));
    }
    for power in up.0..=up.1 {
        let at = y(10_f64.powi(power));
        let _ = write!(out, "<path class=\"g\" d=\"M{left} {at:.1}H{}\"/>", PANEL.0 - right);
        let _ =
            write!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", left - 6.0, at + 4.0, tick(power));
    }
    let middle = f64::midpoint(left, PANEL.0 - right);
    let _ = write!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{below}</text>", PANEL.1 - 8.0);
    for (at, line) in plot.lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
        let _ = write!(out, "<path class=\"l s{at}\"{} d=\"M{}\"/>", MARKS[at % 2], path.join("L"));
        for (number, (over, value)) in line.points.iter().enumerate() {
            let (x, y) = (x(*over), y(*value));
            let _ = write!(out, "<circle class=\"m{at}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
            // The first one's figure must not stand on the axis.
            let anchor = if number == 0 { "start" } else { "middle" };
            let (up, figure) = (y - 8.0, figure(*value));
            let _ = write!(out, "<text x=\"{x:.1}\" y=\"{up:.1}\" text-anchor=\"{anchor}\">{figure}</text>");
        }
        let key = left + 160.0 * at as f64;
        let _ = write!(out, "<path class=\"l s{at}\"{} d=\"M{key} 38h24\"/>", MARKS[at % 2]);
        let _ = write!(out, "<text x=\"{}\" y=\"42\">{}</text>", key + 30.0, line.name);
    }
}

fn tick(power: i32) -> String {
    match power {
        6.. => format!("{} M", 10_i64.pow(power.unsigned_abs() - 6)),
        3.. => format!("{} 000", 10_i64.pow(power.unsigned_abs() - 3)),
        0.. => 10_i64.pow(power.unsigned_abs()).to_string(),
        _ => format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power)),
    }
}

fn figure(value: f64) -> String {
    match value {
        10.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
