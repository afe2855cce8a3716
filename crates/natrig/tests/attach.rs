//! Something outside a lab joins one of its segments: `up --attach`.

mod support;

use natrig_capture::{Reader, decode};
use support::{Place, assert_code, scenario, stderr, stdout};

const DIRECT: &str = "seed/scenario-direct.yaml";

/// What is attached has an address on the internet segment, asks the relay's STUN server where it is seen, and is told. All of it
/// happens in a network namespace of its own.
const OUTSIDER: &str = r#"
set -euo pipefail
eval "$PREPARE"
natrig up --lab "$LAB" --out out --attach internet="$DEVICE" "$SCENARIO"
trap 'natrig down --lab "$LAB"' EXIT
ip addr add 192.168.100.200/24 dev "$DEVICE"
exec 3<>/dev/udp/192.168.100.3/3478
# A binding request.
printf '\x00\x01\x00\x00\x21\x12\xa4\x42natrig-lab--' >&3
timeout 20 head -c 20 <&3 | od -An -tx1 -w4 -N4
ip -br link >devices
"#;

#[test]
#[ignore = "long: make test-full"]
fn a_device_that_is_made_is_on_the_segment() {
    is_on_the_segment("natrig-out", "true", "natrig-out");
}

#[test]
#[ignore = "long: make test-full"]
fn a_device_that_was_there_is_on_the_segment() {
    is_on_the_segment("tap7", "ip tuntap add tap7 mode tap", "tap7");
}

#[test]
#[ignore = "long: make test-full"]
fn a_bridge_is_on_the_segment() {
    is_on_the_segment("br7", "ip link add br7 type bridge && ip link set br7 up", "natrig0");
}

/// Attaches a device to the internet segment of a lab, under the name that the lab then has for it.
fn is_on_the_segment(device: &str, prepare: &str, joined: &str) {
    let place = Place::new();
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_natrig")).parent().unwrap();
    let path = format!("{}:/usr/sbin:/sbin:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut outsider = place.command("unshare");
    outsider.args(["--net", "--", "bash", "-c", OUTSIDER]).env("PATH", path);
    outsider
        .env("LAB", place.lab())
        .env("SCENARIO", scenario(DIRECT))
        .env("DEVICE", device)
        .env("PREPARE", prepare);
    let output = outsider.output().unwrap();
    assert_code(&output, 0);
    let said = stdout(&output);
    assert!(said.contains(&format!("internet is joined to {joined}\n")), "{said}");
    // A binding response.
    assert!(said.lines().any(|line| line.trim().starts_with("01 01 00")), "{said}{}", stderr(&output));
    let devices = std::fs::read_to_string(place.work().join("devices")).unwrap();
    assert!(devices.lines().any(|line| line.starts_with(joined) && line.contains("UP")), "{devices}");

    let capture = place.work().join("out/captures/internet.attached.pcapng");
    let records = Reader::new(std::fs::File::open(capture).unwrap()).unwrap().map(Result::unwrap);
    let outside = std::net::Ipv4Addr::new(192, 168, 100, 200);
    let datagrams: Vec<bool> = records
        .filter_map(|record| {
            let udp = decode(&record.data)?.udp()?;
            [udp.source, udp.destination]
                .iter()
                .any(|end| *end.ip() == outside)
                .then_some(*udp.source.ip() == outside)
        })
        .collect();
    assert_eq!(datagrams, [true, false], "a question and its answer");
    let journal = std::fs::read_to_string(place.work().join("out/faults.log")).unwrap();
    assert!(journal.contains(&format!(" attach internet to {joined}\n")), "{journal}");
}

#[test]
fn what_cannot_be_attached_is_said_before_anything_boots() {
    let place = Place::new();
    let lab = place.lab();
    for (attach, phrases) in [
        ("lan9=tap0", &["no segment is called `lan9`", "hint: there are internet, lan1, lan2"][..]),
        ("lan1", &["a segment and a device are meant, such as lan1=tap0"]),
        ("lan1=a device", &["no device can be called `a device`", "1 to 15 characters"]),
        ("lan1=lo", &["`lo` is neither a TAP device nor a bridge", "hint: put it into a bridge"]),
    ] {
        let output =
            place.run(["up", &scenario(DIRECT).display().to_string(), "--lab", &lab, "--attach", attach]);
        assert_code(&output, 2);
        for phrase in phrases {
            assert!(stderr(&output).contains(phrase), "{attach}: `{phrase}` is not in\n{}", stderr(&output));
        }
    }
    place.assert_clean(&[]);
}
