//! A run as text.

use std::fmt::Write;

use super::Document;
use crate::population::{Ended, Histogram, Outcome};

/// What came of a run, for a terminal.
pub fn text(document: &Document) -> String {
    let mut text = String::new();
    let _ = write(&mut text, document);
    text
}

fn write(text: &mut String, document: &Document) -> std::fmt::Result {
    let told = &document.settings;
    writeln!(
        text,
        "{} members for {} s behind {}, churn {}, {} seed{}",
        told.nodes,
        told.seconds,
        told.mix,
        told.churn,
        document.worlds.len(),
        if document.worlds.len() == 1 { "" } else { "s" },
    )?;
    let whole: Vec<&Outcome> = document.worlds.iter().filter_map(Ended::outcome).collect();
    match whole.as_slice() {
        [] => {}
        [one] => outcome(text, one)?,
        several => spread(text, several)?,
    }
    for failed in document.worlds.iter().filter_map(Ended::failed) {
        writeln!(text, "\nan invariant did not hold, {failed}")?;
    }
    let host = &document.host;
    write!(text, "\n{:.1} s on {} threads", host.seconds, host.threads)?;
    write!(text, ", {:.0} events a second", host.events_per_second)?;
    if let (Some(peak), Some(each)) = (host.peak_bytes, host.bytes_per_node) {
        write!(text, ", {} MiB at most ({} KiB a member)", peak >> 20, each >> 10)?;
    }
    writeln!(text)
}

fn outcome(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    writeln!(text, "seed {}, digest {}\n", outcome.seed, outcome.digest)?;
    let reach = &outcome.reachability;
    writeln!(
        text,
        "  reached     {} of {} pairs ({}), where UDP gets out {}; at the end, of those there, {} and {}",
        reach.connected,
        reach.pairs,
        percent(reach.share),
        percent(reach.share_with_udp),
        percent(reach.at_the_end),
        percent(reach.at_the_end_with_udp),
    )?;
    let total = outcome.paths.total().max(1) as f64;
    let paths = outcome.paths.named().into_iter().filter(|(_, count)| *count > 0);
    let paths: Vec<String> =
        paths.map(|(name, count)| format!("{name} {}", percent(count as f64 / total))).collect();
    writeln!(text, "  paths       {}", paths.join(", "))?;
    writeln!(text, "  to a relay  {}", times(&outcome.time_to_relay_ms))?;
    writeln!(text, "  to connect  {}", times(&outcome.time_to_connect_ms))?;
    writeln!(text, "  to settle   {}", times(&outcome.time_to_settle_ms))?;
    let messages = &outcome.messages;
    writeln!(
        text,
        "  messages    {} sent, {} delivered, {} lost, {} failed, {} held back, {} again; {} came directly",
        messages.sent,
        messages.delivered,
        messages.lost,
        messages.failed,
        messages.held_back,
        messages.again,
        percent(messages.direct),
    )?;
    writeln!(text, "  latency     {}", times(&messages.latency_ms))?;
    writeln!(
        text,
        "  sent        {:.2} datagrams and {:.0} bytes a member and second:",
        outcome.sent.datagrams, outcome.sent.bytes
    )?;
    for (kind, amount) in &outcome.sent_per_node_and_second {
        writeln!(text, "              {kind:<12} {:>8.3} {:>9.1}", amount.datagrams, amount.bytes)?;
    }
    let relays = &outcome.relays;
    writeln!(
        text,
        "  relays      {}, at most {} of {} sessions on one, {:.0} bytes a second on all, {} of what members got",
        relays.count,
        relays.most_sessions,
        relays.capacity,
        relays.bytes_per_second,
        percent(relays.share_of_bytes),
    )?;
    if let Some(convergence) = &outcome.convergence {
        writeln!(
            text,
            "  to be known {} by all relays; {} left before, {} not yet",
            times(&convergence.took_ms),
            convergence.left,
            convergence.open
        )?;
    }
    if let Some(lookups) = &outcome.lookups {
        writeln!(
            text,
            "  lookups     {} of {} found ({}), of those there for a while {}; {} by the newest word",
            lookups.found,
            lookups.ended,
            percent(lookups.share),
            percent(lookups.share_of_settled),
            percent(lookups.share_current),
        )?;
        writeln!(
            text,
            "              {} asked nobody, the others {:.1} nodes, at most {}; {}",
            percent(lookups.share_known),
            lookups.asked_mean,
            lookups.asked_most,
            times(&lookups.took_ms)
        )?;
    }
    writeln!(
        text,
        "  members     {} there at the end, {} sessions; {} events",
        outcome.present, outcome.sessions, outcome.events
    )
}

fn times(times: &Histogram) -> String {
    let ms = |share| times.quantile(share).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    format!("p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, of {}", ms(0.5), ms(0.9), ms(0.99), times.count())
}

/// Least, middle and most over several seeds.
fn spread(text: &mut String, outcomes: &[&Outcome]) -> std::fmt::Result {
    writeln!(text, "\n  {:<36} {:>10} {:>10} {:>10}", "of one seed", "least", "middle", "most")?;
    let seconds = |histogram: &Histogram, share| {
        histogram.quantile(share).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    type Figure<'a> = (&'a str, &'a dyn Fn(&Outcome) -> f64);
    let figures: [Figure<'_>; 8] = [
        ("pairs reached, %", &|one| one.reachability.share * 100.0),
        ("  where UDP gets out, %", &|one| one.reachability.share_with_udp * 100.0),
        ("messages that came directly, %", &|one| one.messages.direct * 100.0),
        ("messages lost", &|one| one.messages.lost as f64),
        ("time to connect, p50, ms", &|one| seconds(&one.time_to_connect_ms, 0.5)),
        ("time to connect, p99, ms", &|one| seconds(&one.time_to_connect_ms, 0.99)),
        ("bytes sent a member and second", &|one| one.sent.bytes),
        ("most sessions of a relay", &|one| one.relays.most_sessions as f64),
    ];
    for (name, figure) in figures {
        let mut values: Vec<f64> = outcomes.iter().map(|one| figure(one)).collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values.get(((values.len() - 1) as f64 * share) as usize).copied();
        let [least, middle, most] = [0.0, 0.5, 1.0].map(|share| at(share).unwrap_or_default());
        writeln!(text, "  {name:<36} {least:>10.2} {middle:>10.2} {most:>10.2}")?;
    }
    Ok(())
}
