//! What a simulator cannot be.

use natrig_lab::Trouble;
use natrig_scenario::{Action, Engine, GatewayFault, NodeFault, Scenario};

/// Refuses a scenario that only real kernels can run, and says which part of it.
pub fn needs_a_kernel(scenario: &Scenario) -> Result<(), Trouble> {
    let refused = |what: String| {
        Err(Trouble::lab(format!("the simulator has no kernel, and {what}"))
            .hint("natrig run --backend vm runs this scenario on machines"))
    };
    let become_ = scenario.faults.iter().filter_map(|fault| match &fault.action {
        Action::Gateway(_, GatewayFault::Become(gateway)) => Some(&**gateway),
        _ => None,
    });
    let mut gateways = scenario.nats.iter().flat_map(|nat| &nat.gateways).chain(become_);
    if let Some(gateway) = gateways.find(|gateway| gateway.fixed && gateway.engine == Engine::Kernel) {
        return refused(format!("`{}` is to be made by one (`engine: kernel`)", gateway.profile.name));
    }
    if scenario.has_kernels() {
        return refused("`machines` names one that is to be booted (`kernel` or `image`)".to_owned());
    }
    if !scenario.port_mapping.is_empty() {
        return refused("`port_mapping` is miniupnpd's, in the kernel of a gateway".to_owned());
    }
    let limits = |action: &Action| matches!(action, Action::Node(_, NodeFault::Limit(_)));
    if scenario.faults.iter().any(|fault| limits(&fault.action)) {
        return refused("only a kernel limits the memory of a node".to_owned());
    }
    if scenario.node.memory_at_most.is_some() {
        return refused("only a kernel tells how much memory a node holds (`memory_at_most`)".to_owned());
    }
    Ok(())
}

/// The same scenario with gateways of natrig's own engine.
pub(super) fn modelled(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    for gateway in scenario.nats.iter_mut().flat_map(|nat| &mut nat.gateways) {
        gateway.engine = Engine::Model;
    }
    for fault in &mut scenario.faults {
        if let Action::Gateway(_, GatewayFault::Become(gateway)) = &mut fault.action {
            gateway.engine = Engine::Model;
        }
    }
    scenario
}
