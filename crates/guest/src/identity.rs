//! What makes a clone a machine of its own.

use std::{fs, os::fd::AsRawFd};

use natrig_agent_proto::{Identity, tenant::MACHINE};
use rustix::time::{ClockId, Timespec, clock_settime};

/// Less than this could be guessed.
const LEAST_ENTROPY: usize = 32;

/// The most that fits beside the header of the request to the kernel.
const MOST_ENTROPY: usize = 512;

const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// Takes an identity; randomness comes first, so that all that follows differs from the twins'.
pub(crate) fn take(identity: &Identity) -> Result<(), String> {
    reseed(&identity.entropy)?;
    let time = Timespec {
        tv_sec: i64::try_from(identity.realtime_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(identity.realtime_ns % 1_000_000_000).unwrap_or(0),
    };
    clock_settime(ClockId::Realtime, time).map_err(|error| format!("cannot set the clock: {error}"))?;
    let name = &identity.hostname;
    rustix::system::sethostname(name.as_bytes())
        .map_err(|error| format!("cannot take the host name {name:?}: {error}"))?;
    let id = &identity.machine_id;
    if id.len() != 32 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(format!("{id:?} is no machine ID: it has 32 hexadecimal digits"));
    }
    for (path, content) in [
        ("/etc/machine-id", format!("{id}\n")),
        ("/etc/hostname", format!("{name}\n")),
        ("/etc/hosts", format!("127.0.0.1 localhost {name}\n")),
    ] {
        for root in roots() {
            let path = format!("{root}{path}");
            fs::write(&path, &content).map_err(|error| format!("cannot write {path}: {error}"))?;
        }
    }
    Ok(())
}

/// The root folders of the agent and of its machine, which are one where it is PID 1.
fn roots() -> &'static [&'static str] {
    match std::process::id() {
        1 => &[""],
        _ => &["", MACHINE],
    }
}

/// Adds fresh bytes to the kernel's pool, with credit, and makes the generator draw on it at once.
fn reseed(entropy: &[u8]) -> Result<(), String> {
    #[repr(C)]
    struct PoolInfo {
        bits: libc::c_int,
        bytes: libc::c_int,
        buffer: [u8; MOST_ENTROPY],
    }
    if !(LEAST_ENTROPY..=MOST_ENTROPY).contains(&entropy.len()) {
        return Err(format!(
            "{} bytes of entropy, where {LEAST_ENTROPY} to {MOST_ENTROPY} are wanted",
            entropy.len()
        ));
    }
    let bytes = libc::c_int::try_from(entropy.len()).map_err(|error| error.to_string())?;
    let mut info = PoolInfo { bits: bytes * 8, bytes, buffer: [0; MOST_ENTROPY] };
    for (place, byte) in info.buffer.iter_mut().zip(entropy) {
        *place = *byte;
    }
    let pool = fs::File::open("/dev/urandom").map_err(|error| format!("/dev/urandom: {error}"))?;
    // SAFETY: `info` is laid out as the kernel's `struct rand_pool_info` and outlives the call, which only reads it.
    let added = unsafe { libc::ioctl(pool.as_raw_fd(), RNDADDENTROPY, &raw const info) };
    if added != 0 {
        return Err(format!("cannot add entropy: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: this request takes no argument.
    let reseeded = unsafe { libc::ioctl(pool.as_raw_fd(), RNDRESEEDCRNG) };
    if reseeded != 0 {
        return Err(format!("cannot reseed: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}
