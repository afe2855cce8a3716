//! Plots as SVG, in the colours of the page that they are on.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;

/// A line of a plot.
pub(super) struct Line {
    pub name: String,
    /// The class that colours it.
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// How an axis goes.
pub(super) struct Axis {
    pub name: &'static str,
    pub least: f64,
    pub most: f64,
    /// Whether each step is a multiple of the last.
    pub logarithmic: bool,
}

impl Axis {
    /// From 0 to the next round number.
    pub fn linear(name: &'static str, most: f64) -> Self {
        let magnitude = power_of_ten(libm::log10(most.max(1e-9)).floor());
        let round = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * magnitude);
        let most = round.into_iter().find(|round| *round >= most).unwrap_or(most);
        Axis { name, least: 0.0, most, logarithmic: false }
    }

    /// From one power of ten to another.
    pub fn powers(name: &'static str, least: f64, most: f64) -> Self {
        let power = |value: f64| libm::log10(value.max(1e-9));
        let (least, most) = (power(least).floor(), power(most).ceil());
        let most = if most <= least { least + 1.0 } else { most };
        Axis { name, least: power_of_ten(least), most: power_of_ten(most), logarithmic: true }
    }

    /// Where between the ends a value is.
    fn place(&self, value: f64) -> f64 {
        let place = match self.logarithmic {
            true => libm::log10(value.max(self.least) / self.least) / libm::log10(self.most / self.least),
            false => (value - self.least) / (self.most - self.least),
        };
        place.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.logarithmic {
            true => {
                let power = |value: f64| libm::log10(value).round() as i32;
                let (first, last) = (power(self.least), power(self.most));
                (first..=last).map(|power| power_of_ten(power.into())).collect()
            }
            false => (0..=5).map(|n| self.least + (self.most - self.least) * f64::from(n) / 5.0).collect(),
        }
    }
}

/// Lines over two axes.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut svg = begin(title);
    frame(&mut svg, x, y);
    for (number, line) in lines.iter().enumerate() {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(a, b)| format!("{:.1},{:.1}", across(x.place(*a)), up(y.place(*b))))
            .collect();
        let _ = write!(svg, r#"<polyline class="line {}" points="{}"/>"#, line.class, points.join(" "));
        let at = TOP + 14.0 + 16.0 * number as f64;
        let _ = write!(
            svg,
            r#"<text class="{}" x="{:.1}" y="{at:.1}" text-anchor="end">{}</text>"#,
            line.class,
            WIDTH - RIGHT - 6.0,
            escape(&line.name)
        );
    }
    svg + "</svg>"
}

/// A bar for each value, from the left to the right.
pub(super) fn bars(title: &str, name: &'static str, y: &Axis, values: &[f64], limit: Option<f64>) -> String {
    let mut svg = begin(title);
    frame(&mut svg, &Axis { name, least: 0.0, most: values.len() as f64, logarithmic: false }, y);
    let count = values.len().max(1) as f64;
    for (number, value) in values.iter().enumerate() {
        let (left, right) = (across(number as f64 / count), across((number as f64 + 1.0) / count));
        let top = up(y.place(*value));
        let width = (right - left - 0.5).max(0.5);
        let height = up(0.0) - top;
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
    }
    if let Some(limit) = limit {
        let at = up(y.place(limit));
        let _ = write!(
            svg,
            r#"<line class="limit" x1="{:.1}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/>"#,
            across(0.0),
            across(1.0)
        );
    }
    svg + "</svg>"
}

/// Rows of shares, each a whole.
pub(super) fn shares(title: &str, rows: &[(String, Vec<(&'static str, f64)>)]) -> String {
    const ROW: f64 = 20.0;
    const NAMES: f64 = 240.0;
    let height = rows.len() as f64 * ROW + 4.0;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}"><title>{0}</title>"#,
        escape(title)
    );
    for (number, (name, parts)) in rows.iter().enumerate() {
        let y = number as f64 * ROW + 2.0;
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            NAMES - 8.0,
            y + 13.0,
            escape(name)
        );
        let total: f64 = parts.iter().map(|(_, value)| value).sum();
        let mut x = NAMES;
        for (class, value) in parts.iter().filter(|(_, value)| *value > 0.0) {
            let width = value / total.max(f64::MIN_POSITIVE) * (WIDTH - NAMES - RIGHT);
            let _ = write!(
                svg,
                r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="16"><title>{class}: {value} of {total}</title></rect>"#
            );
            x += width;
        }
    }
    svg + "</svg>"
}

fn begin(title: &str) -> String {
    let title = escape(title);
    format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>"#)
}

fn frame(svg: &mut String, x: &Axis, y: &Axis) {
    for tick in y.ticks() {
        let at = up(y.place(tick));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            number(tick)
        );
    }
    for tick in x.ticks() {
        let at = across(x.place(tick));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{:.1}"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            number(tick)
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text transform="translate(12 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0,
        escape(x.name),
        (TOP + HEIGHT - BOTTOM) / 2.0,
        escape(y.name)
    );
}

fn power_of_ten(power: f64) -> f64 {
    libm::pow(10.0, power)
}

fn across(share: f64) -> f64 {
    LEFT + share * (WIDTH - RIGHT - LEFT)
}

fn up(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}

fn number(value: f64) -> String {
    match value.abs() {
        big if big >= 1e6 => format!("{} M", round(value / 1e6)),
        big if big >= 1e4 => format!("{} k", round(value / 1e3)),
        _ => round(value),
    }
}

fn round(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_and_has_its_values_between() {
        let axis = Axis::linear("", 37.0);
        assert_eq!((axis.most, axis.place(25.0), axis.place(-1.0), axis.place(99.0)), (50.0, 0.5, 0.0, 1.0));
        let axis = Axis::powers("", 30.0, 4_000.0);
        assert_eq!((axis.least, axis.most), (10.0, 10_000.0));
        assert!((axis.place(1_000.0) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(axis.ticks().len(), 4);
    }

    #[test]
    fn a_name_cannot_break_out() {
        let svg = shares("x", &[("<script>\"&".to_owned(), vec![("direct", 1.0)])]);
        assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;&quot;&amp;"));
    }
}
