//! Labs that stay up: `up`, `down`, `status`, `fault`, `exec`, `probe`, `shell`, `logs`, `capture`.
//!
//! A lab belongs to a process of its own, which listens on a socket in the abstract namespace: it has a name and no file,
//! and is gone with the process, however that ends.

mod capture;
mod client;
mod daemon;
mod picture;
mod protocol;
mod shown;

pub use capture::capture;
pub use client::{down, exec, fault, logs, probe, shell, status, up};
pub use daemon::daemon;
pub use protocol::Inquiry;
