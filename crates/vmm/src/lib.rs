//! QEMU processes, guest images, templates and clones.
//!
//! The way from nothing to a running machine:
//!
//! 1. [`Store::open_default`] opens the cache folder and [`Qemu::find`] the emulator.
//! 2. [`Image::build`] puts a Debian kernel, a few programs and the guest program together.
//! 3. [`Accelerator::choose`] says whether guests run on KVM here.
//! 4. [`Template::build`] boots once and saves the machine.
//! 5. [`Template::spawn`] starts a copy of it in a fraction of a second, as a [`Machine`].
//! 6. [`AgentClient`] talks to the agent in it. The first request to a copy is
//!    [`Identify`](natrig_agent_proto::Request::Identify): until then it is its siblings' twin.
//!
//! Everything of 1 to 4 is cached by the hash of what went in, and several processes may do it at once. [`Slots`] limits
//! how many machines run on a host. Children die with the process that started them, however it ends. What lies in the
//! cache is all that is ever left on disk.
//!
//! This crate knows machines, not NATs or scenarios; the guest program comes to it as bytes.

#![deny(unsafe_code)]

mod accelerator;
mod agent;
mod cloud;
mod disk;
mod error;
mod export;
mod fat;
mod image;
mod machine;
mod qemu;
mod qmp;
mod slots;
mod spawn;
mod store;
mod template;
mod world;

pub use accelerator::{Accelerator, Choice};
pub use agent::{AgentClient, AgentError, Output, Process, ProcessEvent};
pub use cloud::{CloudImage, CloudSpec, Published, QEMU_IMG, Shelf, Shelved, Signed, Trust};
pub use disk::{AppDisk, DISK_BYTES};
pub use error::{Error, Result};
pub use export::{Exported, export};
pub use image::{Image, ImageSpec, Manifest, Package, PackageSource};
pub use machine::{CloneSpec, Machine};
pub use qemu::{Format, Qemu};
pub use slots::{Slots, Turn};
pub use store::Store;
pub use template::{Origin, Shape, Template};
pub use world::{World, WorldFile, WorldSpec};
