//! The order of the measurements.

mod calls;
mod collision;
mod errors;
mod expiry;
mod filtering;
mod hairpin;
mod mapping;
mod ports;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use natrig_nat::Filtering;
use natrig_stun::ChangeRequest;

use crate::{Answered, Failed, Plan, Report, Steps, bench::Bench};

/// The server's endpoints in relation to the primary one: that one itself,
const NONE: ChangeRequest = ChangeRequest { ip: false, port: false };
/// its other address,
const IP: ChangeRequest = ChangeRequest { ip: true, port: false };
/// its other port,
const PORT: ChangeRequest = ChangeRequest { ip: false, port: true };
/// and both.
const BOTH: ChangeRequest = ChangeRequest { ip: true, port: true };

/// The longest time that the end of a flow is waited for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What every step is given.
#[derive(Debug, Clone)]
struct Step {
    bench: Bench,
    plan: Plan,
}

impl Step {
    /// The first inside host.
    fn host(&self) -> IpAddr {
        self.plan.inside.ip()
    }

    /// All inside hosts.
    fn hosts(&self) -> Vec<IpAddr> {
        [Some(self.host()), self.plan.second].into_iter().flatten().collect()
    }

    /// One of the server's endpoints.
    fn endpoint(&self, change: ChangeRequest) -> SocketAddr {
        let Plan { server, other, .. } = self.plan;
        let ip = if change.ip { other } else { server }.ip();
        let port = if change.port { other } else { server }.port();
        SocketAddr::new(ip, port)
    }

    /// The server's other address with its primary port.
    fn other_address(&self) -> SocketAddr {
        self.endpoint(IP)
    }
}

/// Everything that the plan asks for.
pub(crate) async fn all(bench: Bench, plan: Plan) -> Result<Report, Failed> {
    let step = Step { bench, plan };
    let (mapping, mapped) = mapping::measure(&step).await?;
    let filter = filtering::measure(&step, mapping).await?;
    let mut report = Report {
        steps: plan.steps,
        mapping,
        filtering: filter.filtering,
        early_packet_harmless: filter.early_packet_harmless,
        mapped,
        true_sources: None,
        collision: None,
        ports: None,
        pooling: None,
        outside: Vec::new(),
        hairpin: None,
        icmp_errors: None,
        unsolicited: filter.unsolicited,
        expiry: None,
        strangers: Vec::new(),
        notes: Vec::new(),
    };
    if plan.steps == Steps::Whole {
        the_rest(&step, &mut report).await?;
    }
    let stateless = mapping.is_none() && report.filtering == Filtering::EndpointIndependent;
    if let Some(timers) = plan.timers.filter(|_| !stateless) {
        let times = [timers.unreplied, timers.stream, timers.stream_after];
        if times.into_iter().chain(timers.lifetime).all(|time| time <= LONGEST) {
            report.expiry = Some(expiry::measure(&step, report.filtering, timers).await?);
        } else {
            step.bench.note(format!("the end of flows was not waited for: that is more than {LONGEST:?}"));
        }
    }
    let strays = step.bench.strays();
    if let (Some(collision), false) = (&mut report.collision, strays.is_empty()) {
        collision.owner_only = false;
    }
    let false_sources = step.bench.false_sources();
    report.true_sources = Some(false_sources.is_empty());
    strays.into_iter().chain(false_sources).for_each(|note| step.bench.note(note));
    report.strangers = step.bench.take_expected();
    report.notes = step.bench.take_notes();
    Ok(report)
}

/// What the fast steps leave out, but for what takes time.
async fn the_rest(step: &Step, report: &mut Report) -> Result<(), Failed> {
    let class = (report.mapping, report.filtering);
    if let Some(mapping) = report.mapping {
        let given = ports::measure(step).await?;
        report.ports = Some(given.ports);
        report.pooling = Some(given.pooling);
        report.outside = given.outside;
        report.hairpin = hairpin::measure(
            step,
            (mapping, report.filtering),
            report.early_packet_harmless,
            &report.outside,
        )
        .await?;
    }
    if let Some(second) = step.plan.second {
        let usage = report.ports.as_ref().map(|ports| ports.usage);
        report.collision = collision::measure(step, second, class, usage).await?;
    }
    if let Some(closed) = step.plan.closed {
        report.icmp_errors = Some(errors::pass(step, closed).await?);
    }
    let unsolicited = errors::unsolicited(step, report.mapped[0], class).await?;
    report.unsolicited = match (report.unsolicited, unsolicited) {
        (Some(Answered::Icmp), _) => Some(Answered::Icmp),
        (before, now) => now.or(before),
    };
    Ok(())
}
