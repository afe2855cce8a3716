//! The program in every guest.
//!
//! One static program under several names: started by the kernel as PID 1 it is `init`, which sets the guest up and then
//! serves the host as its agent; by its other names it is one of the [`APPLETS`].

mod agent;
mod carry;
mod ethtool;
mod group;
mod identity;
mod in_world;
mod init;
mod mapping_mirror;
mod nat_model;
mod netlink;
mod network;
mod port;
mod pristine;
mod prober;
mod process;
mod settings;
mod standalone;
mod stun_server;
mod tenant;
mod watch;

use std::{path::Path, process::ExitCode};

use natrig_agent_proto::tenant as shared;

type Applet = fn(Vec<String>) -> ExitCode;

/// What the program is under another name: either its own (`argv[0]`) or its first argument. Each takes the arguments
/// that follow its name. Their links in the guest are made by `natrig-vmm` (`image::GUEST_APPLETS`).
const APPLETS: &[(&str, Applet)] = &[
    ("carry", |arguments| told(carry::run(&arguments))),
    ("in-world", |arguments| told(in_world::run(&arguments))),
    ("mapping-mirror", |arguments| told(mapping_mirror::run(&arguments))),
    ("nat-model", |arguments| told(nat_model::run(&arguments))),
    (shared::OUTSIDE, |arguments| told(tenant::outside(&arguments))),
    ("prober", |arguments| told(prober::run(&arguments))),
    ("stun-server", |arguments| told(stun_server::run(&arguments))),
    (shared::APPLET, |arguments| told(tenant::run(&arguments))),
];

fn main() -> ExitCode {
    if std::process::id() == 1 {
        init::run();
    }
    let mut words = std::env::args();
    let own = words.next().unwrap_or_default();
    let own = Path::new(&own).file_name().and_then(|name| name.to_str());
    if let Some(applet) = own.and_then(applet) {
        return applet(words.collect());
    }
    let asked = words.next();
    if let Some(applet) = asked.as_deref().and_then(applet) {
        return applet(words.collect());
    }
    let names: Vec<&str> = APPLETS.iter().map(|(name, _)| *name).collect();
    eprintln!("natrig-guest: PID 1 of natrig's guests; elsewhere it runs one of: {}", names.join(", "));
    ExitCode::from(2)
}

fn applet(name: &str) -> Option<Applet> {
    APPLETS.iter().find(|(known, _)| *known == name).map(|(_, applet)| *applet)
}

/// An applet's end, its error on stderr.
fn told(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
