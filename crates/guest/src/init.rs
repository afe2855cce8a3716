//! What PID 1 does before and after it is the agent.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    path::Path,
};

use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, finit_module, reboot},
};

use crate::{agent::Agent, group, network, port::Port, pristine::Pristine, standalone};

/// The modules of this image, each after what it depends on.
pub(crate) const MODULES: &str = "/etc/natrig/modules";

/// Sets the guest up and serves the host until that goes away, then powers off.
pub(crate) fn run() -> ! {
    // PID 1 must not end: the kernel would panic, and the reason would be lost among its complaints.
    let served = std::panic::catch_unwind(serve);
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("natrig-guest: {error}"),
        Err(_) => eprintln!("natrig-guest: the agent panicked"),
    }
    power_off()
}

/// Ends the machine at once.
pub(crate) fn power_off() -> ! {
    let _ = reboot(RebootCommand::PowerOff);
    // Nothing is left to do should the kernel refuse.
    loop {
        std::thread::park();
    }
}

fn serve() -> Result<(), String> {
    for (kind, path, options) in [
        ("proc", "/proc", ""),
        ("sysfs", "/sys", ""),
        ("devtmpfs", "/dev", ""),
        ("devpts", "/dev/pts", "ptmxmode=0666,mode=0620"),
        ("tmpfs", "/dev/shm", "mode=1777"),
        ("tmpfs", "/tmp", "mode=1777"),
        ("tmpfs", "/run", "mode=0755"),
        ("cgroup2", group::ROOT, ""),
    ] {
        file_system(kind, path, options).map_err(|error| format!("cannot mount {path}: {error}"))?;
    }
    group::count_memory().map_err(|error| format!("cannot have memory counted: {error}"))?;
    load_modules().map_err(|error| format!("cannot read {MODULES}: {error}"))?;
    settle();
    network::loopback_up().map_err(|error| format!("cannot bring up lo: {error}"))?;
    let nics = network::nics().map_err(|error| format!("cannot list the NICs: {error}"))?;
    if standalone::is_meant() {
        return standalone::run(&nics);
    }
    let port = Port::open().map_err(|error| format!("cannot open the host's port: {error}"))?;
    Agent::new(port, nics, Some(Pristine::look()?))?.serve()
}

/// Machines of a lab speak IPv4; without the first two, every one of them sends IPv6 router solicitations into the
/// captures. An emulator translates a program for the addresses that it runs at; with the third it does that once and
/// not at every start, which is two thirds of what a start costs. A scenario can set them back.
const SETTINGS: [(&str, &str); 3] = [
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("kernel/randomize_va_space", "0"),
];

/// Sets what all machines of a lab have in common.
pub(crate) fn settle() {
    for (setting, value) in SETTINGS {
        write_setting(setting, value);
    }
}

fn write_setting(name: &str, value: &str) {
    if let Err(error) = fs::write(Path::new("/proc/sys").join(name), value) {
        eprintln!("natrig-guest: cannot set {name}: {error}");
    }
}

fn file_system(kind: &str, path: &str, options: &str) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let options = CString::new(options).map_err(io::Error::other)?;
    match mount(kind, path, kind, MountFlags::empty(), Some(&*options)) {
        // The kernel may have mounted /dev by itself.
        Err(rustix::io::Errno::BUSY) => Ok(()),
        mounted => Ok(mounted?),
    }
}

fn load_modules() -> io::Result<()> {
    for path in fs::read_to_string(MODULES)?.lines() {
        // Without devices of its own accord; who wants one makes it.
        let parameters = if path.ends_with("/ifb.ko") { c"numifbs=0" } else { c"" };
        match File::open(path).and_then(|file| Ok(finit_module(&file, parameters, 0)?)) {
            Ok(()) => {}
            // Some module had loaded it, or it finds nothing to drive here.
            Err(error)
                if matches!(
                    rustix::io::Errno::from_io_error(&error),
                    Some(rustix::io::Errno::EXIST | rustix::io::Errno::NODEV)
                ) => {}
            Err(error) => eprintln!("natrig-guest: cannot load {path}: {error}"),
        }
    }
    Ok(())
}
