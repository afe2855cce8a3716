//! What the tests with real machines share.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use natrig_agent_proto::{Identity, Request};
use natrig_vmm::{
    Accelerator, CloneSpec, Image, ImageSpec, Machine, Output, PackageSource, Qemu, Shape, Slots, Store,
    Template,
};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// The guest program: what `$NATRIG_GUEST` names, or else built here.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = std::env::var_os("NATRIG_GUEST").map_or_else(build_guest, PathBuf::from);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
});

fn build_guest() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let triple = "x86_64-unknown-linux-gnu";
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "natrig-guest", "--target", triple])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the guest program does not build");
    target.join(triple).join("release/natrig-guest")
}

pub fn qemu() -> Qemu {
    Qemu::find().expect("these tests need QEMU")
}

/// The user's cache: packages and templates in it need not be fetched and booted for every test.
pub fn store() -> Store {
    Store::open_default().unwrap()
}

pub fn image(store: &Store, packages: PackageSource) -> Image {
    let spec = ImageSpec { guest_program: &GUEST, packages, kernel: None };
    Image::build(store, &spec, &mut |line| eprintln!("{line}")).unwrap()
}

pub fn template_in(store: &Store, packages: PackageSource) -> Template {
    let image = image(store, packages);
    let qemu = qemu();
    let choice = Accelerator::choose(store, &qemu, &image, &mut |_| {}).unwrap();
    Template::build(
        store,
        &qemu,
        natrig_vmm::Origin::Micro(&image),
        choice.accelerator,
        Shape::default(),
        &mut |_| {},
    )
    .unwrap()
}

pub fn template() -> Template {
    template_in(&store(), PackageSource::Apt)
}

/// Keeps tests that run at once from overloading the host.
pub fn slots(count: usize) -> Slots {
    Slots::acquire(&store(), count, Duration::from_secs(300)).unwrap()
}

pub fn spec() -> CloneSpec {
    CloneSpec {
        nics: Vec::<OwnedFd>::new(),
        disk: None,
        console: File::options().append(true).open("/dev/null").unwrap(),
    }
}

/// An identity that differs from every other in what must differ.
pub fn identity(hostname: &str) -> Identity {
    let mut entropy = vec![0; 64];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut entropy).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let machine_id = entropy[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Identity {
        entropy,
        hostname: hostname.to_owned(),
        machine_id,
        realtime_ns: u64::try_from(now.as_nanos()).unwrap(),
    }
}

/// A copy with an identity of its own.
pub fn machine(template: &Template, hostname: &str) -> Machine {
    let machine = template.spawn(spec()).unwrap();
    machine.agent().done(Request::Identify(identity(hostname))).unwrap();
    machine
}

pub fn run(machine: &Machine, argv: &[&str]) -> Output {
    machine.agent().run(argv, b"", PATIENCE).unwrap()
}

/// What a program that must succeed writes.
pub fn ask(machine: &Machine, argv: &[&str]) -> String {
    let output = run(machine, argv);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argv:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
