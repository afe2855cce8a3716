//! Images and templates in a cache of their own.

mod support;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use natrig_vmm::{Accelerator, Error, Image, ImageSpec, PackageSource, Store};
use support::{PATIENCE, image, machine, slots, store, template_in};

/// A new cache, and the packages of the user's cache as a folder.
fn fresh() -> (tempfile::TempDir, Store, PackageSource) {
    let user = store();
    image(&user, PackageSource::Apt);
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(home.path()).unwrap();
    (home, store, PackageSource::Folder(user.root().join("packages")))
}

fn files(store: &Store, folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(store.root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn file(store: &Store, ending: &str) -> PathBuf {
    let found: Vec<PathBuf> = files(store, "templates")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_template_is_made_once_and_again_when_it_is_damaged() {
    let (_home, store, packages) = fresh();
    let _slots = slots(1);
    let build = || template_in(&store, packages.clone());
    assert!(build().boot_time().is_some(), "the first is booted");
    assert!(build().boot_time().is_none(), "the second comes from the cache");
    let left = files(&store, "templates");
    assert_eq!(left.len(), 3, "{left:?}");

    type Damage = fn(&Store);
    let damages: [(&str, Damage); 5] = [
        ("a flipped bit of memory", |store| flip(&file(store, "memory"), 20 << 20)),
        ("a short memory", |store| cut(&file(store, "memory"), 1 << 20)),
        ("a flipped bit of state", |store| flip(&file(store, "state"), 1000)),
        ("no state", |store| fs::remove_file(file(store, "state")).unwrap()),
        ("a seal that is none", |store| fs::write(file(store, "json"), "{").unwrap()),
    ];
    for (what, damage) in damages {
        damage(&store);
        let template = build();
        assert!(template.boot_time().is_some(), "{what} was not noticed");
    }
    let template = build();
    assert!(template.boot_time().is_none());
    machine(&template, "sound").agent().ping().unwrap();

    template.discard().unwrap();
    assert!(build().boot_time().is_some(), "a discarded one is made again");
    // Copies of the one that was open before still start.
    machine(&template, "old").agent().ping().unwrap();
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn cut(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn two_that_build_at_once_boot_once() {
    let (_home, store, packages) = fresh();
    let _slots = slots(2);
    let built = std::thread::scope(|scope| {
        [(); 2]
            .map(|()| scope.spawn(|| template_in(&store, packages.clone())))
            .map(|thread| thread.join().unwrap())
    });
    let booted = built.iter().filter(|template| template.boot_time().is_some());
    assert_eq!(booted.count(), 1);
    for (template, name) in built.iter().zip(["one", "two"]) {
        machine(template, name).agent().ping().unwrap();
    }
}

const CACHE: &str = "NATRIG_TEST_BUILDS_IN";

#[test]
fn a_builder_that_is_killed_leaves_nothing_and_keeps_nobody_waiting() {
    let (home, store, packages) = fresh();
    if let Some(cache) = std::env::var_os(CACHE) {
        template_in(&Store::open(cache).unwrap(), packages);
        return;
    }
    let _slots = slots(1);
    // Whether KVM works is found out first, so that the QEMU seen below is the template's.
    let image = image(&store, packages.clone());
    Accelerator::choose(&store, &support::qemu(), &image, &mut |_| {}).unwrap();
    let mut builder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_builder_that_is_killed_leaves_nothing_and_keeps_nobody_waiting"])
        .env(CACHE, home.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let qemu = loop {
        assert!(Instant::now() < deadline && builder.try_wait().unwrap().is_none(), "it boots nothing");
        if let Some(child) = qemu_of(builder.id()) {
            break child;
        }
    };
    builder.kill().unwrap();
    builder.wait().unwrap();
    while Path::new(&format!("/proc/{qemu}")).exists() {
        assert!(Instant::now() < deadline, "its QEMU lives on");
    }
    let left = files(&store, "templates");
    assert!(left.is_empty(), "{left:?}");
    assert!(template_in(&store, packages).boot_time().is_some());
}

/// The number of a process's child that is a QEMU which boots a guest.
fn qemu_of(parent: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .collect::<String>();
    children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
        let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        words.split(|&byte| byte == 0).any(|word| word == b"-kernel")
    })
}

#[test]
fn an_image_is_listed_with_what_is_in_it_and_can_be_removed() {
    let (_home, store, packages) = fresh();
    let made = image(&store, packages.clone());
    let listed = Image::list(&store).unwrap();
    assert_eq!(listed.len(), 1);
    let manifest = listed[0].manifest();
    assert_eq!(listed[0].id(), made.id());
    assert!(manifest.kernel.ends_with("cloud-amd64"), "{}", manifest.kernel);
    let nft = manifest.packages.iter().find(|package| package.name == "nftables").unwrap();
    assert_eq!(nft.sha256.len(), 64);
    assert!(!nft.version.is_empty());
    let place = |name: &str| manifest.modules.iter().position(|module| module == name);
    assert!(place("nf_tables") < place("nft_masq"), "what is needed comes first");
    assert!(place("nft_masq").is_some());

    let other = ImageSpec { guest_program: b"another program", packages, kernel: None };
    let other = Image::build(&store, &other, &mut |_| {}).unwrap();
    assert_ne!(other.id(), made.id());
    made.remove().unwrap();
    assert_eq!(Image::list(&store).unwrap().len(), 1);
    assert!(!made.kernel().exists() && !made.initrd().exists());
}

#[test]
fn the_same_inputs_make_the_same_image() {
    let (_one, first, packages) = fresh();
    let (_two, second, _) = fresh();
    let (first, second) = (image(&first, packages.clone()), image(&second, packages));
    assert_eq!(first.manifest(), second.manifest());
}

#[test]
fn a_folder_without_a_program_that_guests_need_is_refused_by_name() {
    let (_home, store, packages) = fresh();
    let PackageSource::Folder(all) = packages else { unreachable!() };
    let some = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(all).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().starts_with("conntrack_") {
            fs::copy(entry.path(), some.path().join(entry.file_name())).unwrap();
        }
    }
    let spec = ImageSpec {
        guest_program: b"",
        packages: PackageSource::Folder(some.path().to_owned()),
        kernel: None,
    };
    let error = Image::build(&store, &spec, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Image(_)));
    assert!(error.to_string().contains("conntrack"), "{error}");
}
