//! How long flows live, held against the times in the plan.
//!
//! A flow is looked at once, by a call, and not used again: the call might have kept it alive. So every look has a socket
//! of its own, and all of them are waited for at once.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::{try_join, try_join3};
use natrig_nat::{
    Filtering,
    profile::{Refresh, Timers},
};

use super::{BOTH, NONE, Step, calls};
use crate::{
    Expiry, Failed, Life, SocketId,
    bench::{Answer, Request},
};

/// How much longer than `stream_after` a flow is left, so that a kernel's tick does not matter.
const TICK: Duration = Duration::from_millis(100);

/// How many sockets are tried until one has the same outside address as another.
const TRIES: usize = 8;

/// A flow to the server that was just used.
#[derive(Debug, Clone, Copy)]
struct Flow {
    socket: SocketId,
    outside: SocketAddr,
    /// When its first packet left the host.
    born: Duration,
    /// When its last packet left the host.
    left: Duration,
    /// When that had passed the gateway for certain, there and back.
    passed: Duration,
}

/// One look: whether the flow was alive, and how long it had then been idle, at least and at most.
#[derive(Debug, Clone, Copy)]
struct Look {
    alive: bool,
    least: Duration,
    most: Duration,
}

/// Everything that ends.
pub async fn measure(step: &Step, filtering: Filtering, timers: Timers) -> Result<Expiry, Failed> {
    let Timers { unreplied, stream, .. } = timers;
    let (before, after) = (|time: Duration| time * 3 / 4, |time: Duration| time * 5 / 4);
    // One caller is enough where there is one outside address; those who need another find it.
    let outside = step.bench.ask(step.bench.fresh(step.host()), step.plan.server).await?;
    calls::caller(step, outside.ip()).await?;
    let unanswered = try_join(
        never_answered(step, timers, before(unreplied)),
        never_answered(step, timers, after(unreplied)),
    );
    let young = try_join(
        answered_once(step, timers, before(unreplied)),
        answered_once(step, timers, after(unreplied)),
    );
    let stream = try_join(
        established(step, timers, before(stream), filtering),
        established(step, timers, after(stream), filtering),
    );
    let watched = try_join(busy(step, timers), kept_from_outside(step, timers));
    let (looks, (lifetime, refresh)) = try_join(try_join3(unanswered, young, stream), watched).await?;
    let (unanswered, young, stream) = looks;
    let expiry = Expiry {
        unreplied: Life::of(unanswered),
        stream: Life::of(stream),
        young: Life::of(young),
        lifetime,
        // What had come to the end of its lifetime says nothing of who keeps it alive.
        refresh: refresh.filter(|refresh| {
            *refresh == Refresh::Both || lifetime.at_most.is_none_or(|most| most > timers.stream * 3 / 2)
        }),
    };
    step.bench.note(format!(
        "flows: {} without an answer, {} with one, {} with one and younger than {:?}; a busy mapping {}",
        expiry.unreplied, expiry.stream, expiry.young, timers.stream_after, expiry.lifetime
    ));
    Ok(expiry)
}

impl Life {
    fn of((one, other): (Option<Look>, Option<Look>)) -> Self {
        [one, other].into_iter().flatten().fold(Life::default(), |life, look| match look.alive {
            true => Life { at_least: life.at_least.max(look.least), ..life },
            false => {
                Life { at_most: Some(life.at_most.map_or(look.most, |most| most.min(look.most))), ..life }
            }
        })
    }
}

/// A flow whose packet the server answers to somebody else.
async fn never_answered(step: &Step, timers: Timers, idle: Duration) -> Result<Option<Look>, Failed> {
    for host in step.hosts().into_iter().cycle().take(TRIES) {
        let socket = step.bench.fresh(host);
        let friend = step.bench.fresh(host);
        let friends = step.bench.ask(friend, step.plan.server).await?;
        let request = Request::plain(socket, step.plan.server).optional().unaimed();
        let left = step.bench.now();
        let answers = step
            .bench
            .exchange(vec![
                request.answered_at(friends.port(), Some(friend)),
                Request::plain(friend, step.plan.server),
            ])
            .await?;
        // Where the gateway has several addresses, these two may have different ones.
        let Some(outside) = answers.first().filter(|answer| answer.arrived()).and_then(Answer::mapped) else {
            continue;
        };
        let flow = Flow { socket, outside, born: left, left, passed: step.bench.now() };
        return look(step, timers, flow, idle, false).await;
    }
    step.bench.note("no flow could be opened whose answer went to somebody else".to_owned());
    Ok(None)
}

/// A flow that was answered, and is young.
async fn answered_once(step: &Step, timers: Timers, idle: Duration) -> Result<Option<Look>, Failed> {
    let flow = open(step).await?;
    look(step, timers, flow, idle, false).await
}

/// A flow that was answered, and again when it was old enough. Strangers call it as well.
async fn established(
    step: &Step,
    timers: Timers,
    idle: Duration,
    filtering: Filtering,
) -> Result<Option<Look>, Failed> {
    let flow = establish(step, timers).await?;
    look(step, timers, flow, idle, filtering == Filtering::EndpointIndependent).await
}

/// Whose packets keep a flow alive: one is called when it has been idle for a while, and again when it has sent nothing
/// for longer than it may live.
async fn kept_from_outside(step: &Step, timers: Timers) -> Result<Option<Refresh>, Failed> {
    let flow = establish(step, timers).await?;
    let first = look(step, timers, flow, timers.stream * 3 / 5, false).await?;
    let called = step.bench.now();
    let second = look(step, timers, flow, timers.stream * 6 / 5, false).await?;
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(None);
    };
    let since_call = step.bench.now().saturating_sub(called) + (first.most - first.least);
    Ok(if !first.alive {
        step.bench.note("whose packets keep a flow alive cannot be told: it ended too early".to_owned());
        None
    } else if second.alive {
        Some(Refresh::Both)
    } else if since_call < timers.stream {
        Some(Refresh::Outbound)
    } else {
        step.bench.note("whose packets keep a flow alive cannot be told: this host is too slow".to_owned());
        None
    })
}

/// A mapping that is never idle for long. It is called before every packet of its own, so that one that ended and was
/// made again at once is found out.
async fn busy(step: &Step, timers: Timers) -> Result<Life, Failed> {
    let gap = timers.unreplied.min(timers.stream) * 2 / 5;
    let born = step.bench.now();
    let flow = open(step).await?;
    let certain = flow.passed;
    // Without a lifetime it is watched as long as the others are.
    let end = match timers.lifetime {
        Some(lifetime) => lifetime + (gap / 2).min(lifetime / 5),
        None => timers.stream_after + timers.stream * 5 / 4,
    };
    let eve = timers.lifetime.map(|lifetime| lifetime - (gap / 2).min(lifetime / 5));
    let mut life = Life::default();
    loop {
        let now = step.bench.now();
        let next = [Some(now + gap), eve.map(|eve| certain + eve), Some(certain + end)];
        let next = next.into_iter().flatten().filter(|next| *next > now).min().unwrap_or(now);
        step.bench.sleep_until(next).await?;
        let call = calls::Call { from: NONE, to: flow.outside, owner: Some(flow.socket), stale: true };
        let asked = step.bench.now();
        let Some(answers) = calls::make(step, &[call]).await? else {
            return Ok(life);
        };
        if !answers.iter().all(Answer::arrived) {
            life.at_most = Some(step.bench.now().saturating_sub(born));
            return Ok(life);
        }
        life.at_least = asked.saturating_sub(certain);
        if next >= certain + end {
            return Ok(life);
        }
        let outside = step.bench.ask(flow.socket, step.plan.server).await?;
        if outside != flow.outside {
            life.at_most = Some(step.bench.now().saturating_sub(born));
            return Ok(life);
        }
    }
}

async fn open(step: &Step) -> Result<Flow, Failed> {
    let socket = step.bench.fresh(step.host());
    let left = step.bench.now();
    let outside = step.bench.ask(socket, step.plan.server).await?;
    Ok(Flow { socket, outside, born: left, left, passed: step.bench.now() })
}

/// A flow that is used until it is old enough for the longer time.
async fn establish(step: &Step, timers: Timers) -> Result<Flow, Failed> {
    let flow = open(step).await?;
    let (old, gap) = (flow.passed + timers.stream_after + TICK, timers.unreplied / 2);
    loop {
        let now = step.bench.now();
        step.bench.sleep_until(old.min(now + gap)).await?;
        let left = step.bench.now();
        let outside = step.bench.ask(flow.socket, step.plan.server).await?;
        if left >= old {
            return Ok(Flow { outside, left, passed: step.bench.now(), ..flow });
        }
    }
}

/// Calls a flow from the server when it has been idle for a time, and from a stranger where strangers may call.
///
/// None where it cannot be said: nobody could be called, or the mapping may have come to the end of its lifetime.
async fn look(
    step: &Step,
    timers: Timers,
    flow: Flow,
    idle: Duration,
    stranger: bool,
) -> Result<Option<Look>, Failed> {
    let age = flow.passed.saturating_sub(flow.born) + idle;
    if timers.lifetime.is_some_and(|lifetime| age * 11 / 10 > lifetime) {
        return Ok(None);
    }
    step.bench.sleep_until(flow.passed + idle).await?;
    let asked = step.bench.now();
    let call = calls::Call { from: NONE, to: flow.outside, owner: Some(flow.socket), stale: true };
    let mut wanted = vec![call];
    if stranger {
        // First, or the other one would open a flow for it.
        wanted.insert(0, calls::Call { from: BOTH, ..call });
    }
    let Some(answers) = calls::make(step, &wanted).await? else {
        return Ok(None);
    };
    Ok(Some(Look {
        alive: answers.iter().any(Answer::arrived),
        least: asked.saturating_sub(flow.passed),
        most: step.bench.now().saturating_sub(flow.left),
    }))
}
