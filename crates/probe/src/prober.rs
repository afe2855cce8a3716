//! The prober as its driver sees it.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use natrig_stun::Message;

use crate::{Action, Failed, Plan, Report, SocketId, bench::Bench, steps};

/// Measures the gateway it sits behind; [the crate's documentation](crate) says how to drive it.
///
/// Inside, the steps are one future that waits for what the driver tells, so that they read in their order. Nothing wakes
/// it but the driver's calls.
pub struct Prober {
    bench: Bench,
    steps: Pin<Box<dyn Future<Output = Result<Report, Failed>> + Send>>,
    outcome: Option<Result<Report, Failed>>,
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober")
            .field("bench", &self.bench)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Prober {
    /// Starts to measure. All times are since any one moment of the driver's choice.
    pub fn new(plan: Plan, now: Duration) -> Self {
        let bench = Bench::new(plan, now);
        let steps = Box::pin(steps::all(bench.clone(), plan));
        let mut prober = Prober { bench, steps, outcome: None };
        prober.go_on(now);
        prober
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.bench.poll_action()
    }

    /// When to call [`Prober::handle_timeout`]; none when finished.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.outcome.is_some() { None } else { self.bench.wake() }
    }

    /// The answer, once there is one.
    pub fn outcome(&self) -> Option<&Result<Report, Failed>> {
        self.outcome.as_ref()
    }

    /// Takes a datagram that came to a socket from an address; what is none of the prober's is passed over.
    pub fn handle_datagram(&mut self, now: Duration, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        if let Ok(message) = Message::decode(datagram) {
            self.bench.arrived(now, socket, from, &message);
            self.go_on(now);
        }
    }

    /// Takes what a socket was told of a datagram it had sent: an ICMP error, destination unreachable.
    pub fn handle_icmp_error(&mut self, now: Duration, socket: SocketId, to: SocketAddr) {
        self.bench.unreachable(socket, to);
        self.go_on(now);
    }

    /// Takes what the server's side was told of a datagram it had sent, `from` one of its endpoints `to` an outside one:
    /// an ICMP error, destination unreachable.
    pub fn handle_refusal(&mut self, now: Duration, from: SocketAddr, to: SocketAddr) {
        self.bench.refused(from, to);
        self.go_on(now);
    }

    /// Goes on where time was waited for: sends again what was not answered, or gives up.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.go_on(now);
    }

    fn go_on(&mut self, now: Duration) {
        if self.outcome.is_some() {
            return;
        }
        self.bench.at(now);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = self.steps.as_mut().poll(&mut context) {
            self.outcome = Some(outcome);
        }
    }
}
