//! Measures the NAT in front of this machine, as a process.
//!
//! One socket of the kernel for each of the prober's. ICMP errors about what a socket sent are read from its error queue
//! (`IP_RECVERR`). A second inside host is a second address of this machine.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Instant,
};

use natrig_probe::{Action, Failed, Plan, Prober, Report, SocketId};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, IoSliceMut},
    net::{RecvAncillaryBuffer, RecvFlags, recvmsg},
};

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

/// Whether packets from outside with an address of this machine are taken, for all interfaces.
const ACCEPT_LOCAL: &str = "/proc/sys/net/ipv4/conf/all/accept_local";

fn measure(plan: Plan) -> io::Result<Result<Report, Failed>> {
    // Where both hosts are this one, a gateway that turns packets back with their inside source sends it its own.
    let before = plan.second.map(|_| accept_local("1")).transpose()?;
    let outcome = drive(plan);
    if let Some(before) = before {
        accept_local(before.trim())?;
    }
    outcome
}

fn accept_local(value: &str) -> io::Result<String> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{ACCEPT_LOCAL}: {error}"));
    let before = fs::read_to_string(ACCEPT_LOCAL).map_err(told)?;
    if before.trim() != value {
        fs::write(ACCEPT_LOCAL, value).map_err(told)?;
    }
    Ok(before)
}

fn drive(plan: Plan) -> io::Result<Result<Report, Failed>> {
    let started = Instant::now();
    let mut prober = Prober::new(plan, started.elapsed());
    let mut sockets: Vec<UdpSocket> = Vec::new();
    loop {
        while let Some(action) = prober.poll_action() {
            match action {
                Action::Bind { local, .. } => sockets.push(bind(local)?),
                Action::Send { socket, to, datagram } => {
                    if let Some(socket) = sockets.get(usize::from(socket)) {
                        send(socket, to, &datagram);
                    }
                }
            }
        }
        if let Some(outcome) = prober.outcome() {
            return Ok(outcome.clone());
        }
        let wait = prober.poll_timeout().map(|at| at.saturating_sub(started.elapsed()));
        let mut ready: Vec<PollFd<'_>> =
            sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        let wait = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        match poll(&mut ready, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let came: Vec<bool> = ready.iter().map(|ready| !ready.revents().is_empty()).collect();
        for ((id, socket), came) in (0..).zip(&sockets).zip(came) {
            if came {
                errors(&mut prober, started, id, socket);
                datagrams(&mut prober, started, id, socket);
            }
        }
        prober.handle_timeout(started.elapsed());
    }
}

/// What cannot be sent now is sent again at the next timeout.
fn send(socket: &UdpSocket, to: SocketAddr, datagram: &[u8]) {
    // An error may be that of an earlier datagram, which is told once and stops this one.
    if socket.send_to(datagram, to).is_err() {
        let _ = socket.send_to(datagram, to);
    }
}

fn bind(local: SocketAddr) -> io::Result<UdpSocket> {
    let told = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot bind {local}: {error}; is it this machine's?"))
    };
    let socket = UdpSocket::bind(local).map_err(told)?;
    socket.set_nonblocking(true)?;
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is an integer of that length and lives during the call, which only reads it.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            length,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// What was said of the datagrams that the socket sent; their destination is given as if it were the sender.
fn errors(prober: &mut Prober, started: Instant, id: SocketId, socket: &UdpSocket) {
    let mut quoted = [0; 1500];
    loop {
        let mut ancillary = RecvAncillaryBuffer::default();
        let mut parts = [IoSliceMut::new(&mut quoted)];
        let Ok(told) = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::ERRQUEUE) else {
            return;
        };
        if let Some(to) = told.address.and_then(|to| SocketAddr::try_from(to).ok()) {
            prober.handle_icmp_error(started.elapsed(), id, to);
        }
    }
}

fn datagrams(prober: &mut Prober, started: Instant, id: SocketId, socket: &UdpSocket) {
    let mut buffer = [0; 1500];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => prober.handle_datagram(started.elapsed(), id, from, &buffer[..length]),
            // An error is told once here as well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
