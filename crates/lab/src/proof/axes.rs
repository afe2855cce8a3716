//! A profile and a measurement, axis by axis.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use natrig_nat::{
    Filtering, Mapping, Profile,
    profile::{Allocation, Hairpin, Pooling, Refresh, Unsolicited},
};
use natrig_probe::{Answered, Life, PortUse, Report, Second, Span, Steps};
use natrig_record::{Proof, ProofSide};

const PASSES: &str = "passes";
const BLOCKED: &str = "blocked";

/// Holds what was measured against what was declared, without a witness on the wire. What was not measured does not
/// count.
pub fn compare(gateway: &str, profile: &Profile, report: &Report) -> Proof {
    let (declared, measured) = (declared(profile), measured(report));
    let said: BTreeMap<String, String> = declared.axes().into_iter().collect();
    let differs: Vec<String> = measured
        .axes()
        .into_iter()
        .filter(|(axis, value)| {
            said.get(axis).is_some_and(|said| said != value) && !fits(axis, profile, report)
        })
        .map(|(axis, _)| axis)
        .collect();
    Proof {
        gateway: gateway.to_owned(),
        profile: profile.name.clone(),
        steps: match report.steps {
            Steps::Fast => "fast".to_owned(),
            Steps::Whole => "whole".to_owned(),
        },
        declared,
        measured,
        holds: differs.is_empty(),
        differs,
        notes: report.notes.clone(),
    }
}

/// What a profile declares.
pub fn declared(profile: &Profile) -> ProofSide {
    let open = profile.filtering == Filtering::EndpointIndependent;
    let mut axes = Axes::default();
    axes.say("udp", if profile.udp_blocked { BLOCKED } else { PASSES });
    axes.say("true_sources", true);
    axes.say("icmp_errors", "passed");
    // Shared endpoints belong to nobody.
    if !profile.ports.overload {
        axes.say("owner_only", true);
        if !open {
            axes.say("own_contacts_only", true);
        }
    }
    if profile.mapping.is_some() || !open {
        axes.say(
            "unsolicited",
            match profile.unsolicited {
                Unsolicited::Drop => "dropped",
                // Who takes them for his own refuses them.
                Unsolicited::Reject | Unsolicited::Poison => "answered with ICMP",
            },
        );
        timers(profile, &mut axes);
    }
    if profile.mapping.is_some() {
        translation(profile, &mut axes);
    } else {
        axes.say("stable", true);
    }
    let poisoned = profile.unsolicited == Unsolicited::Poison && !open;
    ProofSide {
        mapping: mapping(profile.mapping),
        filtering: profile.filtering.to_string(),
        early_packet_harmless: by_inside_endpoint(profile.mapping).then_some(!poisoned),
        other: axes.0,
    }
}

fn translation(profile: &Profile, axes: &mut Axes) {
    let ports = &profile.ports;
    let (usage, second) = match ports.allocation {
        Allocation::Preserving => (PortUse::Kept, Some(Second::Nothing)),
        Allocation::PreservingUntilCollision => (PortUse::Kept, Some(Second::Another)),
        Allocation::Random => (PortUse::Random, None),
        Allocation::Sequential { delta } => (PortUse::Sequential { delta }, None),
    };
    axes.say("ports", port_use(usage));
    axes.maybe("second_comer", second.map(second_comer));
    axes.say("port_range", ports.range);
    axes.say("parity", if ports.parity { "kept" } else { "not kept" });
    axes.say("blocks", ports.block.map_or("none".to_owned(), |block| format!("{} ports", block.size)));
    // A host's block lies on one address.
    let arbitrary = profile.pool.addresses > 1 && ports.block.is_none();
    axes.say("pooling", pooling(if arbitrary { profile.pool.pooling } else { Pooling::Paired }));
    axes.say("addresses", profile.pool.addresses);
    axes.say("hairpin", hairpin(profile.hairpin));
    axes.say("shared_endpoints", ports.overload);
    if by_inside_endpoint(profile.mapping) && !(ports.overload && profile.pool.addresses > 1) {
        axes.say("stable", !ports.overload);
    }
}

fn timers(profile: &Profile, axes: &mut Axes) {
    let timers = &profile.timers;
    let time = |time: Duration| humantime::format_duration(time).to_string();
    axes.say("timer_unreplied", time(timers.unreplied));
    axes.say("timer_stream", time(timers.stream));
    axes.maybe("timer_young", young(profile).map(time));
    axes.say("lifetime", timers.lifetime.map_or("none".to_owned(), time));
    axes.say("refresh", refresh(profile.refresh));
}

/// How long a flow lives that was answered at once and not used again; none where that depends on how fast the answer is.
/// An answer that keeps nothing alive does not lengthen it either.
fn young(profile: &Profile) -> Option<Duration> {
    let timers = &profile.timers;
    if timers.stream_after.is_zero() && profile.refresh == Refresh::Both {
        Some(timers.stream)
    } else {
        let certain = timers.stream_after.is_zero() || timers.stream_after >= Duration::from_secs(1);
        certain.then_some(timers.unreplied)
    }
}

/// What was measured.
pub fn measured(report: &Report) -> ProofSide {
    let mut axes = Axes::default();
    axes.say("udp", PASSES);
    axes.maybe("true_sources", report.true_sources);
    axes.maybe("icmp_errors", report.icmp_errors.map(|passed| if passed { "passed" } else { "not passed" }));
    axes.maybe(
        "unsolicited",
        report.unsolicited.map(|answered| match answered {
            Answered::Silence => "dropped",
            Answered::Icmp => "answered with ICMP",
        }),
    );
    if let Some(collision) = &report.collision {
        axes.maybe("stable", collision.stable);
        axes.maybe("shared_endpoints", collision.shared);
        axes.say("owner_only", collision.owner_only);
        axes.maybe("own_contacts_only", collision.own_contacts_only);
    }
    if let Some(ports) = &report.ports {
        axes.say("ports", port_use(ports.usage));
        axes.maybe("second_comer", ports.second.map(second_comer));
        axes.maybe("port_range", ports.range.map(span));
        axes.maybe("parity", ports.parity.map(|kept| if kept { "kept" } else { "not kept" }));
        axes.maybe(
            "blocks",
            ports.blocks.map(|blocks| match (blocks, ports.hosts) {
                (true, Some([one, other])) => format!("{} and {}", span(one), span(other)),
                _ => "none".to_owned(),
            }),
        );
    }
    axes.maybe("pooling", report.pooling.map(pooling));
    axes.maybe("addresses", report.pooling.map(|_| report.outside.len()));
    axes.maybe("hairpin", report.hairpin.map(hairpin));
    if let Some(expiry) = &report.expiry {
        let life = |life: Life| life.is_known().then(|| life.to_string());
        axes.maybe("timer_unreplied", life(expiry.unreplied));
        axes.maybe("timer_stream", life(expiry.stream));
        axes.maybe("timer_young", life(expiry.young));
        axes.maybe("lifetime", life(expiry.lifetime));
        axes.maybe("refresh", expiry.refresh.map(refresh));
    }
    ProofSide {
        mapping: mapping(report.mapping),
        filtering: report.filtering.to_string(),
        early_packet_harmless: report.early_packet_harmless,
        other: axes.0,
    }
}

/// Whether a value that was seen in part fits the whole that was declared.
fn fits(axis: &str, profile: &Profile, report: &Report) -> bool {
    let ports = report.ports.as_ref();
    let expiry = report.expiry.as_ref();
    let timers = &profile.timers;
    match axis {
        "port_range" => ports.is_some_and(|ports| in_range(profile, ports)),
        "blocks" => profile.ports.block.is_some_and(|block| {
            let most = u32::from(block.size) * u32::from(block.most);
            let wide = |span: Span| u32::from(span.last - span.first) < most;
            ports.is_some_and(|ports| {
                ports.blocks == Some(true) && ports.hosts.is_some_and(|hosts| hosts.into_iter().all(wide))
            })
        }),
        // Not all of them need have been seen.
        "addresses" => report.outside.len() < profile.pool.addresses.into(),
        "timer_unreplied" => expiry.is_some_and(|expiry| expiry.unreplied.fits(timers.unreplied)),
        "timer_stream" => expiry.is_some_and(|expiry| expiry.stream.fits(timers.stream)),
        "timer_young" => {
            expiry.is_some_and(|expiry| young(profile).is_some_and(|time| expiry.young.fits(time)))
        }
        "lifetime" => expiry.is_some_and(|expiry| match timers.lifetime {
            Some(lifetime) => expiry.lifetime.fits(lifetime),
            None => expiry.lifetime.at_most.is_none(),
        }),
        _ => false,
    }
}

/// How many drawn ports do not lie in a quarter of their range by chance.
const ENOUGH: u16 = 12;

/// Whether the ports that were seen may come from the declared range: all lie in it, and drawn ones, if there were enough,
/// are not all in a quarter of it. They need not be uniform: Linux draws 1024 to 2047 twice as often.
fn in_range(profile: &Profile, ports: &natrig_probe::Ports) -> bool {
    let range = profile.ports.range;
    let Some(seen) = ports.range else {
        return true;
    };
    let within = range.contains(seen.first) && range.contains(seen.last);
    let sequential = matches!(ports.usage, PortUse::Sequential { .. });
    let drawn = !sequential && profile.ports.block.is_none() && ports.moved >= ENOUGH;
    within && (!drawn || u32::from(seen.last - seen.first) > range.count() / 4)
}

/// Values by axis.
#[derive(Debug, Default)]
struct Axes(BTreeMap<String, String>);

impl Axes {
    fn say(&mut self, axis: &str, value: impl Display) {
        self.0.insert(axis.to_owned(), value.to_string());
    }

    fn maybe(&mut self, axis: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.say(axis, value);
        }
    }
}

/// Whether an inside endpoint is to have one outside endpoint.
fn by_inside_endpoint(mapping: Option<Mapping>) -> bool {
    matches!(mapping, None | Some(Mapping::EndpointIndependent))
}

fn mapping(mapping: Option<Mapping>) -> String {
    mapping.map_or_else(|| "none".to_owned(), |mapping| mapping.to_string())
}

fn port_use(usage: PortUse) -> String {
    match usage {
        PortUse::Kept => "kept".to_owned(),
        PortUse::Random => "random".to_owned(),
        PortUse::Sequential { delta } => format!("each {delta} above the last"),
    }
}

fn second_comer(second: Second) -> &'static str {
    match second {
        Second::Another => "gets another port",
        Second::Nothing => "gets no port",
    }
}

fn span(span: Span) -> String {
    format!("{}-{}", span.first, span.last)
}

fn pooling(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Paired => "paired",
        Pooling::Arbitrary => "arbitrary",
    }
}

fn hairpin(hairpin: Hairpin) -> &'static str {
    match hairpin {
        Hairpin::None => "none",
        Hairpin::InternalSource => "internal-source",
        Hairpin::ExternalSource => "external-source",
    }
}

fn refresh(refresh: Refresh) -> &'static str {
    match refresh {
        Refresh::Outbound => "outbound",
        Refresh::Both => "both",
    }
}
