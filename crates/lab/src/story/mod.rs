//! A cell told from its packets: where each of the nodes' datagrams went, what became of it and why, and what happened beside.
//!
//! Nothing is judged here. The same reading is drawn by the report ([`Story`]) and stands as comments in the capture that joins
//! all links ([`Told::notes`]).

mod cast;
mod causes;
mod diary;
mod follow;
mod plots;
mod reason;
mod tables;
mod write;

use std::collections::HashMap;

use natrig_capture::Trace;
use natrig_record::Story;

use crate::verdict::Case;
pub use cast::Cast;
pub use diary::Diary;
use follow::follow;
pub use tables::{Change, Entry, Tables};
use write::Writer;

/// A story, and the same packet by packet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// What a report draws.
    pub story: Story,
    /// What is to be said of a frame, by its number.
    pub notes: HashMap<u64, String>,
    /// What kept datagrams from arriving, in sentences.
    pub causes: Vec<String>,
}

/// Tells a cell.
pub fn tell(trace: &Trace, case: &Case, cast: &Cast, diary: &Diary, tables: &Tables) -> Told {
    let followed = follow(trace, case, cast);
    let writer = Writer { trace, case, cast, tables, departures: reason::Departures::of(&followed) };
    let read: Vec<_> = followed.iter().map(|one| writer.read(one)).collect();
    let (journeys, untold) = writer.journeys(&read);
    let until_ns = case.window.map_or(u64::MAX, |window| window.to_ns);
    let mut moments = diary.moments(case.connect_ns);
    moments.extend(tables.moments(case.connect_ns));
    moments.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    let causes = causes::causes(&writer, &read, &moments);
    let story = Story {
        origin_ns: case.connect_ns,
        machines: cast.columns().to_vec(),
        journeys,
        untold,
        moments,
        carried_ms: case.window.map(|window| [window.from_ns, window.to_ns].map(|at| writer.ms(at))),
        throughput: plots::throughput(trace, case, until_ns),
        latencies_ms: plots::latencies(&followed, cast, case.connect_ns),
    };
    Told { story, notes: writer.notes(&read), causes }
}

/// Milliseconds from one time to another, to the microsecond.
fn ms_since(origin_ns: u64, at_ns: u64) -> f64 {
    let nanos = i128::from(at_ns) - i128::from(origin_ns);
    (nanos as f64 / 1_000.0).round() / 1_000.0
}
