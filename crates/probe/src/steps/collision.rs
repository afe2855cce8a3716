//! Two inside hosts on one port.

use std::net::{IpAddr, SocketAddr};

use natrig_nat::{Filtering, Mapping};
use natrig_stun::ChangeRequest;

use super::{BOTH, IP, NONE, PORT, Step, calls};
use crate::{
    Collision, Failed, PortUse, SocketId,
    bench::{Answer, Request},
};

/// One of the two.
#[derive(Debug)]
struct Host {
    socket: SocketId,
    /// Where it was seen first.
    outside: SocketAddr,
    /// Whom it has sent to, and from which outside endpoint.
    contacts: Vec<(SocketAddr, SocketAddr)>,
    /// Which endpoint of the server, in relation to its primary one, it does not contact.
    stranger: ChangeRequest,
}

/// The first host contacts the server, the second its other address. What one contacted then calls the other, and again
/// after both have contacted more.
pub async fn measure(
    step: &Step,
    second: IpAddr,
    (mapping, filtering): (Option<Mapping>, Filtering),
    usage: Option<PortUse>,
) -> Result<Option<Collision>, Failed> {
    let port = step.bench.fresh_ports(1);
    let sockets = [step.host(), second].map(|host| step.bench.bind(SocketAddr::new(host, port)));
    let Some(outside) = meet(step, sockets, second).await? else {
        step.bench
            .note(format!("the second host on port {port} gets nothing, and no more is to be seen of it"));
        return Ok(None);
    };
    let [one, other] = outside;
    step.bench.note(format!("two hosts on port {port} are {one} and {other}"));
    let equal = one == other;
    let kept = usage == Some(PortUse::Kept) && one.port() == port;
    let told = equal || (mapping.is_some() && kept && one.ip() == other.ip());
    let asked = [step.plan.server, step.other_address()];
    let strangers = [IP, NONE];
    let mut hosts: Vec<Host> = Vec::new();
    for (((socket, outside), asked), stranger) in sockets.into_iter().zip(outside).zip(asked).zip(strangers) {
        hosts.push(Host { socket, outside, contacts: vec![(asked, outside)], stranger });
    }
    let mut seen = Seen { owner_only: true, own_contacts_only: true };
    // On a shared endpoint what one contacted is the other's caller by right.
    if !equal {
        call_both(step, &hosts, filtering, &mut seen).await?;
    }
    let stable = contact_more(step, &mut hosts, equal).await?;
    if !equal {
        call_both(step, &hosts, filtering, &mut seen).await?;
    }
    let one_endpoint = matches!(mapping, None | Some(Mapping::EndpointIndependent));
    Ok(Some(Collision {
        stable: one_endpoint.then_some(stable),
        shared: told.then_some(equal),
        owner_only: seen.owner_only,
        own_contacts_only: (filtering != Filtering::EndpointIndependent && !equal)
            .then_some(seen.own_contacts_only),
    }))
}

#[derive(Debug)]
struct Seen {
    owner_only: bool,
    own_contacts_only: bool,
}

/// Both ask somebody else; none if the second one gets nothing while another socket of its host does.
async fn meet(
    step: &Step,
    [one, other]: [SocketId; 2],
    second: IpAddr,
) -> Result<Option<[SocketAddr; 2]>, Failed> {
    let (server, other_address) = (step.plan.server, step.other_address());
    let first = step.bench.ask(one, server).await?;
    let witness = step.bench.fresh(second);
    // A lost one is asked again.
    for _ in 0..2 {
        let requests =
            vec![Request::plain(other, other_address).optional(), Request::plain(witness, other_address)];
        let answers = step.bench.exchange(requests).await?;
        if let Some(outside) = answers.first().and_then(Answer::mapped) {
            return Ok(Some([first, outside]));
        }
    }
    Ok(None)
}

/// Has each one's stranger call it.
async fn call_both(step: &Step, hosts: &[Host], filtering: Filtering, seen: &mut Seen) -> Result<(), Failed> {
    let call = |host: &Host| calls::Call {
        from: host.stranger,
        to: host.outside,
        owner: Some(host.socket),
        stale: false,
    };
    let calls: Vec<calls::Call> = hosts.iter().map(call).collect();
    for round in 0..2 {
        let Some(answers) = calls::make(step, &calls).await? else {
            step.bench.note("no socket has the same outside address, so nobody could be called".to_owned());
            return Ok(());
        };
        let may = |host: &Host| open(host, step.endpoint(host.stranger), filtering);
        let missing = hosts.iter().zip(&answers).any(|(host, answer)| may(host) && !answer.came());
        if missing && round == 0 {
            continue;
        }
        for (host, answer) in hosts.iter().zip(&answers) {
            let from = step.endpoint(host.stranger);
            let local = step.bench.local(host.socket);
            let (may, arrived) = (may(host), answer.arrived());
            seen.owner_only &= !answer.strayed() && (arrived || !may);
            seen.own_contacts_only &= may || !arrived;
            if may != arrived || answer.strayed() {
                step.bench.note(format!(
                    "a call from {from} to {} {} {local}{}",
                    host.outside,
                    if arrived { "came to" } else { "did not come to" },
                    if answer.strayed() { ", but to somebody else" } else { "" },
                ));
            }
        }
        break;
    }
    Ok(())
}

/// Whether a stranger may call an endpoint that has these contacts.
fn open(host: &Host, from: SocketAddr, filtering: Filtering) -> bool {
    let mut contacts =
        host.contacts.iter().filter(|(_, outside)| *outside == host.outside).map(|(to, _)| *to);
    match filtering {
        Filtering::EndpointIndependent => true,
        Filtering::AddressDependent => contacts.any(|to| to.ip() == from.ip()),
        Filtering::AddressAndPortDependent => contacts.any(|to| to == from),
    }
}

/// Both contact two more endpoints, which have called nobody; whether each keeps its outside endpoint.
async fn contact_more(step: &Step, hosts: &mut [Host], shared: bool) -> Result<bool, Failed> {
    let more = [step.endpoint(BOTH), step.endpoint(PORT)];
    let mut requests = Vec::new();
    for host in hosts.iter() {
        requests.extend(more.map(|to| Request::plain(host.socket, to)));
    }
    if shared {
        // What the other one holds may be all that one could get.
        requests = requests.into_iter().map(Request::optional).collect();
        requests.extend(
            step.hosts().iter().map(|host| Request::plain(step.bench.fresh(*host), step.plan.server)),
        );
    }
    let asked: Vec<(SocketId, SocketAddr)> =
        requests.iter().map(|request| (request.socket, request.to)).collect();
    let answers = step.bench.exchange(requests).await?;
    let mut stable = true;
    for ((socket, to), answer) in asked.into_iter().zip(&answers) {
        let Some(host) = hosts.iter_mut().find(|host| host.socket == socket) else {
            continue;
        };
        let seen = answer.mapped();
        stable &= seen == Some(host.outside);
        if let Some(outside) = seen {
            host.contacts.push((to, outside));
            if outside != host.outside {
                step.bench.note(format!(
                    "{} was {} and is {outside} to {to}",
                    step.bench.local(socket),
                    host.outside
                ));
            }
        }
    }
    Ok(stable)
}
