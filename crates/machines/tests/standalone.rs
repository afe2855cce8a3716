//! The exported gateway, booted by hand: no agent, no lab, a plain QEMU, and hosts that the test plays on both sides.

mod rig;

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use natrig_capture::Trace;
use natrig_lab::{
    Topology,
    proof::{Depth, Span, refuse},
    station::Station,
};
use natrig_machines::{command_line, export, station::Stations};
use natrig_vmm::Store;
use natrig_wire::Switch;
use rig::{rig, scenario};

/// How long an emulated machine may take from its BIOS to a gateway on a busy host.
const BOOT: Duration = Duration::from_secs(120);

/// Ends with the test.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What somebody would type.
fn qemu(boot: &[&str], nics: [OwnedFd; 2], console: &Path) -> Qemu {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-m", "160", "-nographic", "-no-reboot", "-nodefaults", "-monitor", "none"]);
    command.args(["-serial", &format!("file:{}", console.display())]).args(boot);
    for (number, nic) in nics.iter().enumerate() {
        rustix::io::fcntl_setfd(nic, rustix::io::FdFlags::empty()).unwrap();
        let fd = nic.as_raw_fd();
        command.args(["-netdev", &format!("stream,id=n{number},server=off,addr.type=fd,addr.str={fd}")]);
        command.args([
            "-device",
            &format!("virtio-net-pci,netdev=n{number},romfile=,mac=52:54:00:00:01:0{number}"),
        ]);
    }
    Qemu(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
}

/// Boots an export as somebody would, and holds it against the profile that it is told to be.
fn check(told: &str, boots: &str, boot: impl Fn(&Path) -> Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario(boots, "public");
    let topology = Topology::of(&scenario);
    let place = &topology.gateways()[0];
    let host = topology.hosts().iter().find(|host| host.machine == place.machine).unwrap();
    let nic = |name: &str| host.nics.iter().find(|nic| nic.name == name).unwrap();
    let network = |name: &str| {
        let nic = nic(name);
        let texts = nic.addresses.iter().map(|(address, length)| format!("{address}/{length}"));
        texts.collect::<Vec<_>>().join(",")
    };
    let parameters = format!("natrig.nat={told} natrig.wan={} natrig.lan={}", network("wan"), network("lan"));
    let store = Store::open_default().unwrap();
    let exported = export(&store, rig().image(), &parameters, folder.path(), &mut |_| ()).unwrap();
    assert!(exported.disk.metadata().unwrap().len() > 1 << 20);

    let mut builder = Switch::builder();
    builder.capture_into(folder.path().join("captures"));
    let (wan, lan) = (builder.segment(), builder.segment());
    let nics = [(wan, "wan"), (lan, "lan")]
        .map(|(segment, name)| builder.port(segment, nic(name).link.name()).unwrap().1);
    let stands = topology.stands(place);
    for (stand, segment) in stands.iter().zip([lan, wan]) {
        builder.port(segment, &stand.link).unwrap();
    }
    let switch = builder.start().unwrap();
    let console = folder.path().join("console");
    let boot = boot(folder.path());
    let mut qemu = qemu(&boot.iter().map(String::as_str).collect::<Vec<_>>(), nics, &console);
    let deadline = Instant::now() + BOOT;
    let ready = format!("natrig: {boots} between wan {}", network("wan").replace(',', ", "));
    loop {
        let said = fs::read_to_string(&console).unwrap_or_default();
        if said.contains(&ready) {
            break;
        }
        let runs = qemu.0.try_wait().unwrap().is_none();
        assert!(runs && Instant::now() < deadline, "no gateway: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut stations = Stations::new();
    for stand in &stands {
        let port = switch.port(&stand.link).unwrap();
        stations.add(
            Station::new(stand.mac, stand.addresses.clone(), stand.routes.clone()),
            switch.replug(port).unwrap(),
        );
    }
    let span = Span::of(&topology, place);
    let found = span.measure(&mut stations, Depth::Whole).unwrap();
    let proof = span.prove(&found, &Trace::read_extent(&switch.flush().unwrap()).unwrap()).unwrap();
    refuse(std::slice::from_ref(&proof)).unwrap();
    println!("{boots}: {:?}", proof.measured);
}

#[test]
fn kernel_and_initial_file_system_are_what_their_parameters_say() {
    // Another word on the command line than the export had: the boot parameter counts.
    let with = |folder: &Path| {
        let path = |name: &str| folder.join(name).display().to_string();
        let line = command_line("natrig.nat=symmetric natrig.wan=192.168.100.1/24 natrig.lan=10.0.1.1/24");
        ["-kernel", &path("gateway.kernel"), "-initrd", &path("gateway.initrd"), "-append", &line]
            .map(str::to_owned)
            .to_vec()
    };
    check("full-cone", "symmetric", with);
}

#[test]
#[ignore = "long: make test-full"]
fn the_disk_boots_by_itself_and_is_what_its_settings_say() {
    for profile in ["port-restrict", "full-cone"] {
        check(profile, profile, |folder| {
            let disk = folder.join("gateway.qcow2").display().to_string();
            ["-drive", &format!("if=virtio,format=qcow2,file={disk}")].map(str::to_owned).to_vec()
        });
    }
}
