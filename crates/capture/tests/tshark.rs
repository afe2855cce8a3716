//! tshark opens what is written here; it must be installed.

use std::process::Command;

use bytes::Bytes;
use natrig_capture::{Direction, DropReason, Folder, LinkId, Sighting, Trace, What, merge};

#[test]
#[ignore = "needs tshark: make test-full"]
fn tshark_shows_links_times_directions_numbers_and_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let mut captures = Folder::create(folder.path(), &["nat1.wan", "nat2.wan"]).unwrap();
    let sighting = |frame, link, what| Sighting {
        frame,
        link: LinkId::new(link),
        at_ns: 1_750_000_000_123_456_789 + frame,
        what,
        data: Bytes::from(vec![0xff; 60]),
    };
    let drop = What::Dropped(Direction::Outbound, DropReason::Blocked);
    for sighting in [
        sighting(1, 0, What::Entered),
        sighting(1, 1, What::Delivered),
        sighting(2, 0, What::Entered),
        sighting(2, 1, drop),
    ] {
        captures.write(&sighting).unwrap();
    }
    captures.flush().unwrap();

    let show = |file: &str| {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(folder.path().join(file)).args(["-T", "fields", "-E", "separator=|"]);
        for field in [
            "frame.interface_name",
            "frame.time_epoch",
            "frame.packet_flags_direction",
            "frame.packet_id",
            "frame.comment",
            "frame.len",
        ] {
            command.args(["-e", field]);
        }
        let output = command.output().expect("tshark starts: apt-get install tshark");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        show("nat1.wan.pcapng"),
        "nat1.wan|1750000000.123456790|0x00000001|1||60\nnat1.wan|1750000000.123456791|0x00000001|2||60\n"
    );
    assert_eq!(show("nat2.wan.pcapng"), "nat2.wan|1750000000.123456790|0x00000002|1||60\n");
    assert_eq!(show("dropped.pcapng"), "nat2.wan|1750000000.123456791|0x00000002|2|dropped: blocked|60\n");

    let trace = Trace::read_folder(folder.path()).unwrap();
    let notes =
        [(1, "probe 1 of peer1"), (2, "probe 2 of peer1, not passed by nat2.wan: blocked [observed]")];
    let notes = notes.map(|(frame, note)| (frame, note.to_owned())).into();
    merge(&trace, &notes, &folder.path().join("merged.pcapng")).unwrap();
    let merged = show("merged.pcapng");
    let lines: Vec<_> = merged.lines().collect();
    assert_eq!(
        lines,
        [
            "nat1.wan|1750000000.123456790|0x00000001|1|probe 1 of peer1|60",
            "nat2.wan|1750000000.123456790|0x00000002|1|probe 1 of peer1|60",
            "nat1.wan|1750000000.123456791|0x00000001|2|probe 2 of peer1, not passed by nat2.wan: blocked [observed]|60",
            "nat2.wan|1750000000.123456791|0x00000002|2|dropped: blocked,probe 2 of peer1, not passed by nat2.wan: blocked [observed]|60",
        ]
    );
}
