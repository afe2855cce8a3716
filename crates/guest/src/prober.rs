//! Measures the NAT in front of this machine, as a process.
//!
//! One socket of the kernel for each of the prober's. ICMP errors about what a socket sent are read from its error queue
//! (`IP_RECVERR`).

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use natrig_probe::{Action, Failed, Plan, Prober, Report};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stun_server::address;

/// Prints a [`Report`] as JSON. It takes the fast steps' addresses, or a whole [`Plan`] as JSON.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let plan = match arguments {
        [plan] => serde_json::from_str(plan).map_err(|error| format!("prober: this is no plan: {error}"))?,
        [server, other, inside, seed] => Plan::fast(
            address(server)?,
            address(other)?,
            address(inside)?,
            seed.parse().map_err(|_| format!("`{seed}` is no number"))?,
        ),
        _ => {
            return Err(
                "usage: prober PLAN | prober SERVER_IP:PORT OTHER_IP:PORT INSIDE_IP:PORT SEED".to_owned()
            );
        }
    };
    let report = measure(plan)
        .map_err(|error| format!("prober: {error}"))?
        .map_err(|failed| format!("prober: {failed}"))?;
    let text = serde_json::to_string(&report).map_err(|error| format!("prober: {error}"))?;
    println!("{text}");
    Ok(())
}

fn measure(plan: Plan) -> io::Result<Result<Report, Failed>> {
    let mut prober = Prober::new(plan, Instant::now());
    let mut sockets: Vec<UdpSocket> = Vec::new();
    let mut buffer = [0; 1500];
    loop {
        while let Some(action) = prober.poll_action() {
            match action {
                Action::Bind { local, .. } => {
                    let bound = UdpSocket::bind(local).map_err(|error| {
                        io::Error::new(error.kind(), format!("cannot bind {local}: {error}"))
                    })?;
                    bound.set_nonblocking(true)?;
                    sockets.push(bound);
                }
                Action::Send { socket, to, datagram } => {
                    if let Some(socket) = sockets.get(usize::from(socket)) {
                        // What cannot be sent now is sent again at the next timeout.
                        let _ = socket.send_to(&datagram, to);
                    }
                }
            }
        }
        if let Some(outcome) = prober.outcome() {
            return Ok(outcome.clone());
        }
        let wait = prober.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        let mut ready: Vec<PollFd<'_>> =
            sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        let wait = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        poll(&mut ready, wait.as_ref())?;
        for (id, socket) in (0..).zip(&sockets) {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                prober.handle_datagram(Instant::now(), id, from, &buffer[..length]);
            }
        }
        prober.handle_timeout(Instant::now());
    }
}
