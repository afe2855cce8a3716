//! Frames with their way through a switch, joined from captures.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::folder::{is_older, what};
use crate::{Direction, DropReason, Extent, LinkId, ReadError, Reader, Sighting, What};

/// All frames that the links of one switch saw, in the order of their entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    links: Vec<String>,
    frames: Vec<Frame>,
}

/// A frame and its way through the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number; no other frame of the switch has it.
    pub id: u64,
    /// When it entered, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The link it came by: who sent it, whatever its addresses say.
    pub from: LinkId,
    /// Where it was delivered, in order of time; empty if nobody got it.
    pub to: Vec<Delivery>,
    /// Where it was dropped, in order of time. A flooded frame may be delivered here and dropped there.
    pub drops: Vec<Drop>,
    /// The Ethernet frame as it entered.
    pub data: Bytes,
}

/// A frame handed to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The machine's link.
    pub link: LinkId,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// What arrived; the same as what entered unless the link corrupts.
    pub data: Bytes,
}

/// A frame taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    /// The link where.
    pub link: LinkId,
    /// On the way into the switch or out of it.
    pub direction: Direction,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Why.
    pub reason: DropReason,
}

impl Frame {
    /// The delivery on a link, if the frame arrived there; the first, if it arrived more than once.
    pub fn delivery(&self, link: LinkId) -> Option<&Delivery> {
        self.to.iter().find(|delivery| delivery.link == link)
    }

    /// The packet in the frame, if it is an Ethernet frame.
    pub fn packet(&self) -> Option<crate::Packet<'_>> {
        crate::decode(&self.data)
    }
}

impl Trace {
    /// Reads all captures (`*.pcapng`) of a folder, as [`crate::Folder`] or a switch wrote them.
    ///
    /// Nobody may be writing them any more: of growing captures read an extent.
    pub fn read_folder(folder: &Path) -> Result<Self, TraceError> {
        let older = folder.join(crate::OLDER);
        let mut paths = captures(folder)?;
        if older.is_dir() {
            paths.extend(captures(&older)?);
        }
        // The capture of drops names all links in their order.
        paths.sort_by_key(|path| (path.file_stem().is_none_or(|stem| stem != crate::DROPPED), path.clone()));
        Self::read_files(&paths)
    }

    /// Reads captures of one switch that nobody is writing any more.
    pub fn read_files<P: AsRef<Path>>(paths: &[P]) -> Result<Self, TraceError> {
        let mut collector = Collector::default();
        for path in paths {
            collector.read_file(path.as_ref(), u64::MAX)?;
        }
        if paths.iter().any(|path| is_older(path.as_ref())) {
            collector.forget_what_was_cut();
        }
        collector.finish()
    }

    /// Reads captures as far as they reached when they were flushed; they may have grown since.
    pub fn read_extent(extent: &Extent) -> Result<Self, TraceError> {
        let mut collector = Collector::default();
        for (path, length) in extent.files() {
            collector.read_file(path, *length)?;
        }
        if extent.is_cut() {
            collector.forget_what_was_cut();
        }
        collector.finish()
    }

    /// Reads captures of one switch from anywhere; each has a name for error messages.
    pub fn read<R: Read>(inputs: impl IntoIterator<Item = (String, R)>) -> Result<Self, TraceError> {
        let mut collector = Collector::default();
        for (name, input) in inputs {
            collector.read(&name, input)?;
        }
        collector.finish()
    }

    /// Joins sightings, in any order, whose links are named by `links`.
    pub fn join(
        links: Vec<String>,
        sightings: impl IntoIterator<Item = Sighting>,
    ) -> Result<Self, TraceError> {
        let mut frames: HashMap<u64, Frame> = HashMap::new();
        let mut later = Vec::new();
        for sighting in sightings {
            if sighting.link.index() >= links.len() {
                return Err(TraceError::UnknownLink { index: sighting.link.index() });
            }
            if sighting.what != What::Entered {
                later.push(sighting);
                continue;
            }
            let Sighting { frame: id, link: from, at_ns, data, .. } = sighting;
            let frame = Frame { id, at_ns, from, to: Vec::new(), drops: Vec::new(), data };
            if let Some(other) = frames.insert(id, frame) {
                let links = [name(&links, other.from), name(&links, from)];
                return Err(TraceError::EnteredTwice { id, links });
            }
        }
        later.sort_by_key(|sighting| (sighting.at_ns, sighting.link));
        for Sighting { frame: id, link, at_ns, what, data } in later {
            let Some(frame) = frames.get_mut(&id) else {
                return Err(TraceError::NeverEntered { id, link: name(&links, link) });
            };
            match what {
                What::Entered => {}
                What::Delivered => {
                    // One copy in memory of what is the same.
                    let data = if data == frame.data { frame.data.clone() } else { data };
                    frame.to.push(Delivery { link, at_ns, data });
                }
                What::Dropped(direction, reason) => {
                    frame.drops.push(Drop { link, direction, at_ns, reason });
                }
            }
        }
        let mut frames: Vec<_> = frames.into_values().collect();
        frames.sort_by_key(|frame| (frame.at_ns, frame.id));
        Ok(Self { links, frames })
    }

    /// The links' names, in the order of their [`LinkId`]s.
    pub fn links(&self) -> &[String] {
        &self.links
    }

    /// The link of a name.
    pub fn link(&self, name: &str) -> Option<LinkId> {
        self.links.iter().position(|link| link == name).map(LinkId::new)
    }

    /// A link's name; `?` if it is none of this trace.
    pub fn name(&self, link: LinkId) -> &str {
        self.links.get(link.index()).map_or("?", String::as_str)
    }

    /// The frames, by time of entry, then number.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The sightings that make up the trace: what [`Trace::join`] takes and [`crate::Folder`] writes.
    pub fn sightings(&self) -> impl Iterator<Item = Sighting> {
        self.frames.iter().flat_map(|frame| {
            let id = frame.id;
            let entered = Sighting {
                frame: id,
                link: frame.from,
                at_ns: frame.at_ns,
                what: What::Entered,
                data: frame.data.clone(),
            };
            let delivered = frame.to.iter().map(move |delivery| Sighting {
                frame: id,
                link: delivery.link,
                at_ns: delivery.at_ns,
                what: What::Delivered,
                data: delivery.data.clone(),
            });
            let dropped = frame.drops.iter().map(move |drop| Sighting {
                frame: id,
                link: drop.link,
                at_ns: drop.at_ns,
                what: What::Dropped(drop.direction, drop.reason),
                data: frame.data.clone(),
            });
            std::iter::once(entered).chain(delivered).chain(dropped)
        })
    }
}

/// The captures in a folder.
fn captures(folder: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let unreadable = |source| TraceError::Open { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>().map_err(unreadable)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcapng"));
    Ok(paths)
}

fn name(links: &[String], link: LinkId) -> String {
    links.get(link.index()).cloned().unwrap_or_default()
}

/// Gathers the sightings of several captures.
#[derive(Default)]
struct Collector {
    links: Vec<String>,
    sightings: Vec<Sighting>,
}

impl Collector {
    fn read_file(&mut self, path: &Path, length: u64) -> Result<(), TraceError> {
        let file = File::open(path).map_err(|source| TraceError::Open { path: path.to_owned(), source })?;
        self.read(&path.display().to_string(), BufReader::new(file.take(length)))
    }

    fn read(&mut self, capture: &str, input: impl Read) -> Result<(), TraceError> {
        let failed = |source| TraceError::Read { capture: capture.to_owned(), source };
        let foreign = || TraceError::Foreign { capture: capture.to_owned() };
        let mut reader = Reader::new(input).map_err(failed)?;
        let mut links = Vec::new();
        loop {
            let record = reader.next().transpose().map_err(failed)?;
            // Also links on which nothing was seen are part of the trace.
            for interface in reader.interfaces().iter().skip(links.len()) {
                links.push(self.link(interface.name.as_deref().ok_or_else(foreign)?));
            }
            let Some(record) = record else { return Ok(()) };
            let link = *links.get(record.interface).ok_or_else(foreign)?;
            let interface = reader.interfaces().get(record.interface).ok_or_else(foreign)?;
            let what = what(interface, &record).ok_or_else(foreign)?;
            let frame = record.id.ok_or_else(foreign)?;
            self.sightings.push(Sighting { frame, link, at_ns: record.at_ns, what, data: record.data });
        }
    }

    fn link(&mut self, name: &str) -> LinkId {
        let known = self.links.iter().position(|link| link == name);
        LinkId::new(known.unwrap_or_else(|| {
            self.links.push(name.to_owned());
            self.links.len() - 1
        }))
    }

    /// Leaves out what became of frames that entered before the oldest one that is kept; they are numbered as they enter.
    fn forget_what_was_cut(&mut self) {
        let entered = self.sightings.iter().filter(|one| one.what == What::Entered);
        let first = entered.map(|one| one.frame).min().unwrap_or(u64::MAX);
        self.sightings.retain(|one| one.frame >= first);
    }

    fn finish(self) -> Result<Trace, TraceError> {
        Trace::join(self.links, self.sightings)
    }
}

/// Why captures do not join to a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A file or folder could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A capture could not be read.
    #[error("{capture}: {source}")]
    Read {
        /// The capture.
        capture: String,
        /// Why.
        source: ReadError,
    },
    /// A capture has packets without link, direction, number, or with an unknown reason for a drop.
    #[error("{capture} was not written by natrig's switch, or by another version of it")]
    Foreign {
        /// The capture.
        capture: String,
    },
    /// A sighting is of no link of the trace.
    #[error("there is no link {index} in this trace")]
    UnknownLink {
        /// The link's place.
        index: usize,
    },
    /// Two frames have one number.
    #[error("frame {id} entered twice, on {} and on {}: are these captures of different runs?", links[0], links[1])]
    EnteredTwice {
        /// The number.
        id: u64,
        /// Where it entered.
        links: [String; 2],
    },
    /// A frame was seen leaving that never came.
    #[error("frame {id} was seen on {link} and never entered: is a link's capture missing?")]
    NeverEntered {
        /// The number.
        id: u64,
        /// Where it was seen.
        link: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Folder, Interface, Record, Writer};

    const LINKS: [&str; 3] = ["peer1", "nat1.lan", "nat1.wan"];

    fn sighting(frame: u64, link: usize, at_ns: u64, what: What) -> Sighting {
        let data = Bytes::from(format!("the Ethernet frame {frame}"));
        Sighting { frame, link: LinkId::new(link), at_ns, what, data }
    }

    fn links() -> Vec<String> {
        LINKS.map(str::to_owned).to_vec()
    }

    /// Each frame's way: entry, deliveries and drops, with times that grow along it.
    fn ways() -> impl Strategy<Value = Vec<Sighting>> {
        let end = (0..LINKS.len(), 0u64..1000, any::<prop::sample::Index>(), any::<bool>());
        let way = (0..LINKS.len(), any::<u32>(), prop::collection::vec(end, 0..4));
        prop::collection::vec(way, 0..30).prop_map(|ways| {
            let mut sightings = Vec::new();
            for (id, (from, entered, ends)) in ways.into_iter().enumerate() {
                let (id, entered) = (id as u64, u64::from(entered));
                sightings.push(sighting(id, from, entered, What::Entered));
                for (link, after, what, inbound) in ends {
                    let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
                    let what = match what.index(DropReason::ALL.len() + 1) {
                        0 => What::Delivered,
                        reason => What::Dropped(direction, DropReason::ALL[reason - 1]),
                    };
                    sightings.push(sighting(id, link, entered + after, what));
                }
            }
            sightings
        })
    }

    proptest! {
        #[test]
        fn a_folder_gives_back_what_was_seen(sightings in ways()) {
            let folder = tempfile::tempdir().unwrap();
            let mut captures = Folder::create(folder.path(), &LINKS).unwrap();
            sightings.iter().for_each(|sighting| captures.write(sighting).unwrap());
            let extent = captures.flush().unwrap();
            let trace = Trace::read_folder(folder.path()).unwrap();
            prop_assert_eq!(Trace::read_extent(&extent).unwrap(), trace.clone());
            prop_assert_eq!(trace.links(), LINKS);
            prop_assert_eq!(trace.sightings().count(), sightings.len());
            prop_assert_eq!(trace, Trace::join(links(), sightings).unwrap());
        }

        #[test]
        fn the_order_of_sightings_does_not_matter(sightings in ways(), seed: u64) {
            let mut shuffled = sightings.clone();
            // Drops that differ in nothing but their reason have no order of their own.
            shuffled.dedup_by_key(|sighting| (sighting.frame, sighting.link, sighting.at_ns, sighting.what == What::Entered));
            let sightings = shuffled.clone();
            shuffled.sort_by_key(|sighting| (sighting.frame ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (trace, other) = (Trace::join(links(), sightings).unwrap(), Trace::join(links(), shuffled).unwrap());
            prop_assert!(trace.frames().is_sorted_by_key(|frame| (frame.at_ns, frame.id)));
            prop_assert_eq!(trace, other);
        }
    }

    #[test]
    fn a_frame_is_joined_with_its_way() {
        let trace = Trace::join(
            links(),
            [
                sighting(2, 1, 250, What::Dropped(Direction::Outbound, DropReason::Blocked)),
                sighting(1, 1, 130, What::Delivered),
                sighting(1, 2, 120, What::Delivered),
                sighting(2, 0, 200, What::Entered),
                sighting(1, 0, 100, What::Entered),
            ],
        )
        .unwrap();
        let [first, second] = trace.frames() else { panic!("{trace:?}") };
        assert_eq!((first.id, first.at_ns, trace.name(first.from)), (1, 100, "peer1"));
        let to: Vec<_> = first.to.iter().map(|it| (trace.name(it.link), it.at_ns)).collect();
        assert_eq!(to, [("nat1.wan", 120), ("nat1.lan", 130)]);
        assert!(second.to.is_empty());
        assert_eq!(second.drops[0].reason, DropReason::Blocked);
        assert_eq!(first.delivery(trace.link("nat1.lan").unwrap()).unwrap().at_ns, 130);
        assert_eq!(first.delivery(trace.link("peer1").unwrap()), None);
    }

    #[test]
    fn what_arrives_altered_is_kept_as_it_arrived() {
        let altered = Bytes::from_static(b"altered");
        let arrival = Sighting { data: altered.clone(), ..sighting(1, 1, 2, What::Delivered) };
        let trace = Trace::join(links(), [sighting(1, 0, 1, What::Entered), arrival]).unwrap();
        assert_eq!(trace.frames()[0].to[0].data, altered);
        assert_ne!(trace.frames()[0].data, altered);
    }

    #[test]
    fn captures_that_do_not_belong_together_are_refused() {
        let entered = |link| sighting(7, link, 1, What::Entered);
        let error = Trace::join(links(), [entered(0), entered(2)]).unwrap_err();
        assert!(error.to_string().contains("frame 7 entered twice, on peer1 and on nat1.wan"), "{error}");
        let error = Trace::join(links(), [sighting(7, 1, 1, What::Delivered)]).unwrap_err();
        assert!(error.to_string().contains("frame 7 was seen on nat1.lan and never entered"), "{error}");
        let error = Trace::join(links(), [entered(3)]).unwrap_err();
        assert!(matches!(error, TraceError::UnknownLink { index: 3 }));
    }

    #[test]
    fn captures_of_other_programs_are_refused_by_name() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.interface(&Interface::ethernet("eth0")).unwrap();
        let whole = Record { direction: Some(Direction::Inbound), id: Some(1), ..Record::default() };
        writer.record(&whole).unwrap();
        let bytes = writer.into_inner();
        assert_eq!(Trace::read([("a".into(), &bytes[..])]).unwrap().frames().len(), 1);

        let link = Interface::ethernet("eth0");
        let drops = Interface { description: Some("frames dropped on this link".to_owned()), ..link.clone() };
        let unknown = vec!["dropped: by a whim".to_owned()];
        for (interface, record) in [
            (&link, Record { id: None, ..whole.clone() }),
            (&link, Record { direction: None, ..whole.clone() }),
            (&Interface { name: None, ..link.clone() }, whole.clone()),
            (&drops, whole.clone()),
            (&drops, Record { comments: unknown, ..whole }),
        ] {
            let mut writer = Writer::new(Vec::new()).unwrap();
            writer.interface(interface).unwrap();
            writer.record(&record).unwrap();
            let error = Trace::read([("eth0.pcapng".into(), &writer.into_inner()[..])]).unwrap_err();
            assert!(matches!(&error, TraceError::Foreign { capture } if capture == "eth0.pcapng"), "{error}");
        }
    }

    #[test]
    fn an_extent_shows_growing_captures_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let mut captures = Folder::create(folder.path(), &LINKS).unwrap();
        captures.write(&sighting(1, 0, 1, What::Entered)).unwrap();
        let extent = captures.flush().unwrap();
        captures.write(&sighting(1, 1, 2, What::Delivered)).unwrap();
        captures.write(&sighting(2, 0, 3, What::Entered)).unwrap();
        captures.flush().unwrap();
        let trace = Trace::read_extent(&extent).unwrap();
        assert_eq!(trace, Trace::join(links(), [sighting(1, 0, 1, What::Entered)]).unwrap());
        assert_eq!(Trace::read_folder(folder.path()).unwrap().frames().len(), 2);
    }

    #[test]
    fn a_link_that_saw_nothing_is_part_of_the_trace() {
        let folder = tempfile::tempdir().unwrap();
        Folder::create(folder.path(), &LINKS).unwrap();
        let trace = Trace::read_folder(folder.path()).unwrap();
        assert_eq!(trace.links(), LINKS);
        assert!(trace.frames().is_empty());
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let error = Trace::read_folder(Path::new("/nowhere/captures")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/captures"), "{error}");
    }

    #[test]
    fn of_a_ring_the_newest_frames_are_read_with_all_that_became_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut captures = Folder::create(folder.path(), &["a", "b"]).unwrap().keep_newest(1000);
        let sighting = |frame: u64, link, what| Sighting {
            frame,
            link: LinkId::new(link),
            at_ns: frame,
            what,
            data: bytes::Bytes::from(vec![0; 100]),
        };
        let mut longest = 0;
        for frame in 1..=40 {
            captures.write(&sighting(frame, 0, What::Entered)).unwrap();
            // Each arrives when the next one has entered, so that a turn parts them.
            if frame > 1 {
                captures.write(&sighting(frame - 1, 1, What::Delivered)).unwrap();
            }
            let extent = captures.flush().unwrap();
            let trace = Trace::read_extent(&extent).unwrap();
            let kept: Vec<u64> = trace.frames().iter().map(|frame| frame.id).collect();
            longest = longest.max(kept.len());
            assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{kept:?}");
            assert_eq!(kept.last(), Some(&frame));
            assert!(frame < 5 || kept.len() >= 5, "{kept:?}");
            let arrived = trace.frames().iter().filter(|frame| frame.to.len() == 1).count();
            assert_eq!(arrived, kept.len() - 1);
        }
        assert_eq!(longest, 10);
        let whole = Trace::read_folder(folder.path()).unwrap();
        assert!((5..=10).contains(&whole.frames().len()));
        let bytes = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
        let ring = bytes(&folder.path().join("a.pcapng")) + bytes(&folder.path().join("older/a.pcapng"));
        assert!(ring < 3000, "{ring} bytes");
    }
}
