//! What hosts cost as there are more of them, as a picture.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 60.0;

/// Draws how much processor time so many hosts took, on logarithmic axes, beside n and n log n from the first on.
pub fn draw(costs: &[(f64, f64)]) -> String {
    let ([(least, first), ..], [.., (most, _)]) = (costs, costs) else { return String::new() };
    let linear = |hosts: f64| first * hosts / least;
    let allowed = |hosts: f64| linear(hosts) * hosts.ln() / least.ln();
    let dearest = costs.iter().map(|(_, cost)| *cost).fold(allowed(*most), f64::max);
    let place = |value: f64, from: f64, to: f64| (value / from).ln() / (to / from).ln();
    let at = |(hosts, cost): (f64, f64)| {
        let across = LEFT + place(hosts, *least, *most) * (WIDTH - LEFT - RIGHT);
        let up = TOP + (1.0 - place(cost, *first, dearest)) * (HEIGHT - TOP - BOTTOM);
        (across, up)
    };
    let line = |cost: &dyn Fn(f64) -> f64| -> String {
        let steps = (0..=40).map(|step| least * (most / least).powf(f64::from(step) / 40.0));
        steps.map(|hosts| at((hosts, cost(hosts)))).map(|(x, y)| format!("{x:.1},{y:.1} ")).collect()
    };
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title desc">
  <title id="title">What hosts cost</title>
  <desc id="desc">Processor time of 60 simulated seconds, for so many hosts, between n and n log n.</desc>
  <style>text {{ font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }} .axis {{ stroke: #57606a; }} polyline {{ fill: none; stroke-width: 2; }}</style>
  <rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
  <path class="axis" fill="none" d="M{LEFT} {TOP} V{base} H{end}"/>
"##,
        base = HEIGHT - BOTTOM,
        end = WIDTH - RIGHT,
    );
    for (name, dashes) in [("n", "6 5"), ("n log n", "2 4")] {
        let cost: &dyn Fn(f64) -> f64 = if name == "n" { &linear } else { &allowed };
        let (x, y) = at((*most, cost(*most)));
        let _ = writeln!(
            svg,
            r##"  <polyline stroke="#57606a" stroke-dasharray="{dashes}" points="{}"/>
  <text x="{:.0}" y="{:.0}">{name}</text>"##,
            line(cost),
            x + 8.0,
            y + 4.0
        );
    }
    let measured: String = costs.iter().map(|one| at(*one)).map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
    let _ = writeln!(svg, r##"  <polyline stroke="#0969da" points="{measured}"/>"##);
    for (hosts, cost) in costs {
        let (x, y) = at((*hosts, *cost));
        let _ = writeln!(
            svg,
            r##"  <circle cx="{x:.1}" cy="{y:.1}" r="4" fill="#0969da"/>
  <text x="{x:.0}" y="{:.0}" text-anchor="middle">{hosts}</text>
  <text x="{:.0}" y="{y:.0}" text-anchor="end">{cost:.2} s</text>"##,
            HEIGHT - BOTTOM + 20.0,
            x - 8.0
        );
    }
    let _ = writeln!(
        svg,
        r##"  <text x="{:.0}" y="{:.0}" text-anchor="middle">hosts; processor time of 60 simulated seconds, both axes logarithmic</text>
</svg>"##,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 14.0
    );
    svg
}
