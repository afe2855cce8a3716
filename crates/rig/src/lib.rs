//! Labs for tests in Rust.
//!
//! ```no_run
//! use natrig_rig::{Error, Outcome, Path, Rig, Source};
//!
//! # async fn test() -> Result<(), Error> {
//! let rig = Rig::shared().await?;
//!
//! // A scenario from start to verdict, as `natrig run` does it.
//! let record = rig.run(Source::file("scenarios/seed/scenario-direct.yaml")).await?;
//! assert_eq!(record.outcome, Outcome::AsExpected, "{record}");
//!
//! // A lab that stays up, as `natrig up` makes one.
//! let lab = rig.lab("{name: two cones, nat1: full-cone, nat2: full-cone, expected: any}").await?;
//! lab.connect("peer1", "peer2").await?;
//! lab.fault("partition: [[nat1.wan], [nat2.wan]]").await?;
//! lab.expect("pathChanged at peer1 with {to: relay} within 60s").await?;
//! let carried = lab.carry("peer1", "peer2").await?;
//! assert_eq!(carried.path, Path::Relay, "{carried}");
//! # Ok(())
//! # }
//! ```
//!
//! [`Rig::run`] judges: its [`Record`] has what the captures show of gateways, nodes and path, held against the scenario. A [`Lab`] is
//! driven by hand, and there is no scenario to hold it against; [`Lab::carry`] reads from the captures which way bytes go now,
//! and nothing beyond that. Neither takes a node's word for a path.
//!
//! What blocks runs on tokio's threads for that, so that any of its runtimes will do. A future that is dropped ends what it
//! waited for. Whatever becomes of a test program, its machines end with it.

#![forbid(unsafe_code)]

mod blocking;
mod carried;
mod error;
mod folder;
mod lab;
mod record;
mod rig;
mod source;
mod words;

pub use carried::Carried;
pub use error::Error;
pub use lab::Lab;
pub use natrig_agent_proto::Exit;
pub use natrig_capture::Trace;
pub use natrig_machines::{Programs, State};
pub use natrig_record::{Cell, Direction, Kind, Outcome, Path, Verdict};
pub use natrig_scenario::Scenario;
pub use natrig_vmm::Output;
pub use record::Record;
pub use rig::Rig;
pub use source::Source;
