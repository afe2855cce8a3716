//! Recorded cells, as `examples/shrink.rs` leaves them.

use std::{fs::File, path::Path};

use flate2::read::GzDecoder;
use natrig_capture::{Sighting, Trace};
use natrig_lab::verdict::Case;

/// What a verdict is read from.
pub struct Recording {
    pub trace: Trace,
    pub case: Case,
}

/// The captures and the case of a recorded cell.
pub fn recorded(name: &str) -> Recording {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name);
    let captures = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let captures = captures.filter(|path| path.extension().is_some_and(|extension| extension == "gz"));
    let inputs = captures.map(|path| (path.display().to_string(), GzDecoder::new(File::open(path).unwrap())));
    let case = std::fs::read(folder.join("case.json")).unwrap();
    Recording { trace: Trace::read(inputs).unwrap(), case: serde_json::from_slice(&case).unwrap() }
}

impl Recording {
    /// The same run with some of its frames taken out of the captures.
    pub fn without(self, drop: impl Fn(&Trace, &Sighting) -> bool) -> Recording {
        let Recording { trace, case } = self;
        let kept: Vec<Sighting> = trace.sightings().filter(|sighting| !drop(&trace, sighting)).collect();
        // What never came cannot have gone on.
        let entered: std::collections::HashSet<u64> = kept
            .iter()
            .filter(|one| one.what == natrig_capture::What::Entered)
            .map(|one| one.frame)
            .collect();
        let kept = kept.into_iter().filter(|one| entered.contains(&one.frame));
        Recording { trace: Trace::join(trace.links().to_vec(), kept).unwrap(), case }
    }

    /// The same run with some of its frames so much later, chosen by what entered the switch.
    #[allow(dead_code, reason = "not every test that reads recordings moves them")]
    pub fn later(self, by: std::time::Duration, chosen: impl Fn(&Trace, &Sighting) -> bool) -> Recording {
        let Recording { trace, mut case } = self;
        let by = by.as_nanos() as u64;
        let came: std::collections::HashSet<u64> = trace
            .sightings()
            .filter(|one| one.what == natrig_capture::What::Entered && chosen(&trace, one))
            .map(|one| one.frame)
            .collect();
        let moved = trace.sightings().map(|mut one| {
            one.at_ns += if came.contains(&one.frame) { by } else { 0 };
            one
        });
        let mut moved: Vec<Sighting> = moved.collect();
        moved.sort_by_key(|one| one.at_ns);
        if let Some(window) = &mut case.window {
            window.to_ns += by;
        }
        Recording { trace: Trace::join(trace.links().to_vec(), moved).unwrap(), case }
    }
}
