//! The order of the measurements.

mod filtering;
mod mapping;

use std::net::{IpAddr, SocketAddr};

use natrig_stun::ChangeRequest;

use crate::{Failed, Plan, Report, bench::Bench};

/// An answer from the server's other address and port.
const BOTH: ChangeRequest = ChangeRequest { ip: true, port: true };
/// An answer from the server's other port.
const PORT: ChangeRequest = ChangeRequest { ip: false, port: true };

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

    /// The server's other address with its primary port.
    fn other_address(&self) -> SocketAddr {
        SocketAddr::new(self.plan.other.ip(), self.plan.server.port())
    }

    /// The server's primary address with its other port.
    fn other_port(&self) -> SocketAddr {
        SocketAddr::new(self.plan.server.ip(), self.plan.other.port())
    }
}

/// Everything that the plan asks for.
pub(crate) async fn all(bench: Bench, plan: Plan) -> Result<Report, Failed> {
    let step = Step { bench, plan };
    let (mapping, mapped) = mapping::measure(&step).await?;
    let filtering = filtering::measure(&step, mapping).await?;
    let strays = step.bench.strays();
    for (_, stray) in &strays {
        step.bench.note(stray.clone());
    }
    Ok(Report {
        steps: plan.steps,
        mapping,
        filtering: filtering.filtering,
        early_packet_harmless: filtering.early_packet_harmless,
        mapped,
        true_sources: Some(!strays.iter().any(|(misdelivered, _)| !misdelivered)),
        collision: None,
        ports: None,
        pooling: None,
        outside: Vec::new(),
        hairpin: None,
        icmp_errors: None,
        unsolicited: filtering.unsolicited,
        expiry: None,
        strangers: filtering.strangers,
        notes: step.bench.take_notes(),
    })
}
