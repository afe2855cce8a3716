//! A run as one page that needs nothing else.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Document,
    plot::{self, Axis, Line, escape},
    text,
};
use crate::population::{Ended, Histogram, Outcome, Paths};

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --fore: #1c1e21; --soft: #667; --grid: #dde;
  --direct: #1b7f3b; --reversal: #5bab4f; --punch: #2f74c0; --birthday: #8f5fc0; --relay: #d98a1d; --open: #99a; --none: #c23b3b; }
@media (prefers-color-scheme: dark) { :root { --back: #15171a; --fore: #e6e6e6; --soft: #9aa; --grid: #333840;
  --direct: #4fc173; --reversal: #8fd07f; --punch: #6aa8ee; --birthday: #bb93ea; --relay: #efb057; --open: #778; --none: #ec6f6f; } }
body { font: 15px/1.5 system-ui, sans-serif; background: var(--back); color: var(--fore); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; font-size: 13px; }
svg { width: 100%; max-width: 48rem; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--fore); }
svg .grid { stroke: var(--grid); } svg .line { fill: none; stroke-width: 1.8; } svg .bar { fill: var(--punch); }
svg .limit { stroke: var(--none); stroke-dasharray: 5 4; }
svg polyline.direct { stroke: var(--direct); } svg polyline.punch { stroke: var(--punch); } svg polyline.relay { stroke: var(--relay); }
svg text.direct { fill: var(--direct); } svg text.punch { fill: var(--punch); } svg text.relay { fill: var(--relay); }
svg rect.direct { fill: var(--direct); } svg rect.reversal { fill: var(--reversal); } svg rect.punch { fill: var(--punch); }
svg rect.birthday { fill: var(--birthday); } svg rect.relay { fill: var(--relay); } svg rect.open { fill: var(--open); } svg rect.none { fill: var(--none); }
.key span { margin-right: 1.2em; } .key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; }
small { color: var(--soft); }
";

/// What came of a run, as a page with plots. With several seeds, they are laid together.
pub fn html(document: &Document) -> String {
    let mut page = String::new();
    let _ = write(&mut page, document);
    page
}

fn write(page: &mut String, document: &Document) -> std::fmt::Result {
    let told = &document.settings;
    let title = format!("{} members, {}", told.nodes, told.mix);
    writeln!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1>",
        escape(&title)
    )?;
    writeln!(page, "<pre>{}</pre>", escape(&text(document)))?;
    let outcomes: Vec<&Outcome> = document.worlds.iter().filter_map(Ended::outcome).collect();
    if !outcomes.is_empty() {
        connect(page, &outcomes)?;
        pairs(page, &outcomes)?;
        messages(page, &outcomes)?;
        relays(page, &outcomes)?;
    }
    let sources = [("the mix", &told.mix_sources), ("the churn", &told.churn_sources)];
    for (of, sources) in sources.into_iter().filter(|(_, sources)| !sources.is_empty()) {
        writeln!(page, "<h2>What {of} rests on</h2><ul>")?;
        for source in sources {
            let [title, url, says] = [&source.title, &source.url, &source.says].map(|text| escape(text));
            writeln!(page, "<li>{title}, <small>{url}</small><br>{says}</li>")?;
        }
        writeln!(page, "</ul>")?;
    }
    writeln!(page, "</body></html>")
}

fn connect(page: &mut String, outcomes: &[&Outcome]) -> std::fmt::Result {
    writeln!(page, "<h2>Time to a relay, to a connection, to the path that stays</h2>")?;
    let merged = |of: &dyn Fn(&Outcome) -> &Histogram| {
        let mut sum = Histogram::default();
        outcomes.iter().for_each(|outcome| sum.merge(of(outcome)));
        let ms = |(time, share): (std::time::Duration, f64)| (time.as_secs_f64() * 1000.0, share * 100.0);
        sum.cumulative().into_iter().map(ms).collect::<Vec<_>>()
    };
    let lines = [
        Line {
            name: "to its relay, from coming".to_owned(),
            class: "relay",
            points: merged(&|one| &one.time_to_relay_ms),
        },
        Line {
            name: "to a connection, from asking".to_owned(),
            class: "direct",
            points: merged(&|one| &one.time_to_connect_ms),
        },
        Line {
            name: "to the path that stays, from asking".to_owned(),
            class: "punch",
            points: merged(&|one| &one.time_to_settle_ms),
        },
    ];
    let times = || lines.iter().flat_map(|line| &line.points).map(|(ms, _)| *ms);
    let x = Axis::powers("ms", times().fold(f64::MAX, f64::min), times().fold(1.0, f64::max));
    let y = Axis { name: "% of all", least: 0.0, most: 100.0, logarithmic: false };
    writeln!(page, "{}", plot::lines("times", &x, &y, &lines))
}

fn pairs(page: &mut String, outcomes: &[&Outcome]) -> std::fmt::Result {
    writeln!(page, "<h2>Paths by the NATs of both sides</h2><p class=\"key\">")?;
    for (name, _) in Paths::default().named() {
        writeln!(page, "<span><i style=\"background: var(--{name})\"></i>{name}</span>")?;
    }
    writeln!(page, "</p>")?;
    let mut sums: BTreeMap<(&str, &str), [(&'static str, f64); 7]> = BTreeMap::new();
    for pair in outcomes.iter().flat_map(|outcome| &outcome.pairs) {
        let named = pair.paths.named();
        let sum = sums.entry((&pair.from, &pair.to)).or_insert_with(|| named.map(|(name, _)| (name, 0.0)));
        sum.iter_mut().zip(named).for_each(|((_, sum), (_, count))| *sum += count as f64);
    }
    let rows: Vec<_> = sums
        .into_iter()
        .map(|((from, to), parts)| {
            let count: f64 = parts.iter().map(|(_, count)| count).sum();
            (format!("{from} → {to} ({count})"), parts.to_vec())
        })
        .collect();
    writeln!(page, "{}", plot::shares("paths by NAT pair", &rows))
}

fn messages(page: &mut String, outcomes: &[&Outcome]) -> std::fmt::Result {
    writeln!(page, "<h2>Messages that each member got</h2>")?;
    let most = outcomes.iter().map(|outcome| outcome.messages.spread.most).max().unwrap_or_default();
    let lines: Vec<Line> = outcomes
        .iter()
        .map(|outcome| {
            let steps = &outcome.messages.spread.steps;
            let last = steps.len().saturating_sub(1).max(1) as f64;
            let points = steps.iter().enumerate();
            let points = points.map(|(at, count)| (at as f64 / last * 100.0, *count as f64)).collect();
            let name = if outcomes.len() == 1 { "members, sorted".to_owned() } else { String::new() };
            Line { name, class: "punch", points }
        })
        .collect();
    let x = Axis { name: "% of members", least: 0.0, most: 100.0, logarithmic: false };
    writeln!(page, "{}", plot::lines("messages", &x, &Axis::linear("messages", most as f64), &lines))
}

fn relays(page: &mut String, outcomes: &[&Outcome]) -> std::fmt::Result {
    writeln!(page, "<h2>Sessions and bytes of the relays</h2>")?;
    let each = || outcomes.iter().flat_map(|outcome| &outcome.relays.each);
    let sorted = |values: &mut Vec<f64>| values.sort_by(|a, b| b.total_cmp(a));
    let mut sessions: Vec<f64> = each().map(|relay| relay.sessions as f64).collect();
    sorted(&mut sessions);
    let limit = outcomes.first().map_or(0, |outcome| outcome.relays.capacity) as f64;
    let y = Axis::linear("most sessions at once", limit.max(sessions.first().copied().unwrap_or_default()));
    writeln!(
        page,
        "{}",
        plot::bars("sessions of relays", "relays, the busiest first", &y, &sessions, Some(limit))
    )?;
    let mut bytes: Vec<f64> = each().map(|relay| relay.bytes as f64).collect();
    sorted(&mut bytes);
    let y = Axis::linear("relayed bytes", bytes.first().copied().unwrap_or_default());
    writeln!(page, "{}", plot::bars("bytes of relays", "relays, the busiest first", &y, &bytes, None))
}
