//! Images of distributions, from a mirror that stands in this process.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use sha2::{Digest, Sha256, Sha512};
use support::{Place, assert_code, repository, stderr, stdout};
use tempfile::TempDir;

/// The length of all disks here, which are empty: the least that is taken for a disk.
const LENGTH: usize = 16 << 20;

/// How the mirror serves the disk.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Whole,
    /// Ends after so many bytes.
    Short(usize),
    /// Sends other bytes of the same length.
    Other,
    /// Knows nothing of parts of files.
    FromTheStart,
    Gone,
    Broken,
}

/// A publisher's web server.
struct Mirror {
    address: String,
    mood: Arc<Mutex<Mood>>,
    /// The first byte that was asked for, each time.
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Mirror {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (mood, asked) = (Arc::new(Mutex::new(Mood::Whole)), Arc::<Mutex<Vec<usize>>>::default());
        let shared = (Arc::clone(&mood), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, asked) = shared.clone();
                // Who asks may hang up at any time.
                thread::spawn(move || serve(stream, *mood.lock().unwrap(), &asked));
            }
        });
        Self { address, mood, asked }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> Vec<usize> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(stream: TcpStream, mood: Mood, asked: &Mutex<Vec<usize>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap_or(Ok(String::new()))?.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut stream = stream;
    let mut answer = |status: &str, fields: &str, body: &[u8]| {
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{fields}\r\n")?;
        stream.write_all(body)
    };
    let file = fs::read(fixture(path.trim_start_matches('/')));
    if !path.ends_with(".raw") {
        return match file {
            Ok(body) => answer("200 OK", &format!("Content-Length: {}\r\n", body.len()), &body),
            Err(_) => answer("404 Not Found", "Content-Length: 0\r\n", b""),
        };
    }
    asked.lock().unwrap().push(from);
    let disk = vec![u8::from(mood == Mood::Other); LENGTH];
    let length = format!("Content-Length: {LENGTH}\r\n");
    match mood {
        Mood::Gone => answer("404 Not Found", "Content-Length: 0\r\n", b""),
        Mood::Broken => answer("503 Service Unavailable", "Content-Length: 0\r\n", b""),
        Mood::Short(end) if from == 0 => answer("200 OK", &length, &disk[..end]),
        Mood::FromTheStart => answer("200 OK", &length, &disk),
        _ if from >= LENGTH => answer("416 Range Not Satisfiable", "Content-Length: 0\r\n", b""),
        _ if from > 0 => {
            let last = LENGTH - 1;
            let fields = format!(
                "Content-Length: {}\r\nContent-Range: bytes {from}-{last}/{LENGTH}\r\n",
                LENGTH - from
            );
            answer("206 Partial Content", &fields, &disk[from..])
        }
        _ => answer("200 OK", &length, &disk),
    }
}

/// A file of the publisher.
fn fixture(name: &str) -> PathBuf {
    repository().join("crates/natrig/tests/images").join(name)
}

/// A user with a recipe for the mirror's disk.
struct User {
    place: Place,
    mirror: Mirror,
    cache: TempDir,
}

impl User {
    fn new(recipe: &str) -> Self {
        let mirror = Mirror::new();
        let cache = tempfile::tempdir().unwrap();
        let place = Place::with_cache(Some(cache.path().to_owned()));
        fs::copy(fixture("keys.gpg"), place.work().join("keys.gpg")).unwrap();
        let user = Self { place, mirror, cache };
        user.writes(recipe);
        user
    }

    fn writes(&self, recipe: &str) {
        let recipe = recipe.replace("MIRROR", &self.mirror.address);
        fs::write(self.place.work().join("empty.yaml"), recipe).unwrap();
    }

    /// What the command says, on an exit code.
    fn fetch(&self, code: i32, options: &[&str]) -> String {
        let output = self.place.run(["image", "fetch", "empty.yaml"].iter().chain(options));
        assert_code(&output, code);
        stdout(&output) + &stderr(&output)
    }
}

const SIGNED: &str =
    "url: MIRROR/empty.raw\nsums: MIRROR/SHA256SUMS\nsignature: MIRROR/SHA256SUMS.gpg\nkeyring: keys.gpg\n";

fn told() -> String {
    hex::encode(Sha256::digest(vec![0; LENGTH]))
}

#[test]
fn a_disk_whose_sums_are_signed_is_fetched_and_locked() {
    let user = User::new(SIGNED);
    let said = user.fetch(0, &[]);
    assert!(said.contains(&told()) && said.contains("signed by a key of"), "{said}");
    assert_eq!(user.mirror.asked(), [0]);
    // It is there now.
    user.mirror.is(Mood::Gone);
    assert!(user.fetch(0, &[]).contains(&told()));
    assert!(user.mirror.asked().is_empty());
    let listed = stdout(&user.place.run(["image", "ls"]));
    assert!(listed.contains("empty  http://127.0.0.1") && listed.contains("16 MB"), "{listed}");
    assert!(stdout(&user.place.run(["image", "rm", "empty"])).contains("removed empty"));
    assert_eq!(stdout(&user.place.run(["image", "ls"])), "");
}

#[test]
fn a_cache_is_emptied() {
    let user = User::new(SIGNED);
    user.fetch(0, &[]);
    let there = || {
        fs::read_dir(user.cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert!(stdout(&user.place.run(["clean"])).contains("removed templates and disks from "));
    assert!(there().iter().any(|name| name == "cloud"), "{:?}", there());
    fs::write(user.cache.path().join("stray"), "").unwrap();
    fs::write(user.cache.path().join("cloud/stray"), "").unwrap();
    assert!(
        stdout(&user.place.run(["clean", "--images"]))
            .contains("removed packages, images, templates and disks")
    );
    assert_eq!(there(), ["locks"]);
    user.fetch(0, &[]);
    assert_eq!(user.mirror.asked(), [0, 0]);
}

#[test]
fn what_came_in_part_is_gone_on_with() {
    let user = User::new(SIGNED);
    user.mirror.is(Mood::Short(5 << 20));
    let said = user.fetch(2, &[]);
    assert!(
        said.contains("it ended after 5242880 of 16777216 bytes") && said.contains("goes on from there"),
        "{said}"
    );
    user.mirror.is(Mood::Whole);
    assert!(user.fetch(0, &[]).contains("going on after 5 MB"));
    assert_eq!(user.mirror.asked(), [0, 5 << 20]);
}

#[test]
fn a_mirror_that_knows_no_parts_begins_anew() {
    let user = User::new(SIGNED);
    user.mirror.is(Mood::Short(1 << 20));
    user.fetch(2, &[]);
    user.mirror.is(Mood::FromTheStart);
    assert!(user.fetch(0, &[]).contains(&told()));
}

#[test]
fn another_disk_than_the_signed_one_is_not_taken() {
    let user = User::new(SIGNED);
    user.mirror.is(Mood::Other);
    let said = user.fetch(2, &[]);
    let other = hex::encode(Sha256::digest(vec![1; LENGTH]));
    assert!(said.contains(&format!("its hash is {other}, the publisher's is {}", told())), "{said}");
    // Nothing of it is left to go on with.
    user.mirror.is(Mood::Whole);
    user.fetch(0, &[]);
    assert_eq!(user.mirror.asked(), [0, 0]);
}

#[test]
fn a_disk_that_changes_behind_its_name_is_not_taken() {
    let recipe = |hash: &str| format!("url: MIRROR/empty.raw\nsha256: \"{hash}\"\n");
    let user = User::new(&recipe(&told()));
    user.fetch(0, &[]);
    fs::remove_file(user.cache.path().join("cloud/empty.disk")).unwrap();
    user.mirror.is(Mood::Other);
    user.writes(&recipe(&hex::encode(Sha256::digest(vec![1; LENGTH]))));
    let said = user.fetch(2, &[]);
    assert!(said.contains("locked when it first came") && said.contains("natrig image rm empty"), "{said}");
    user.place.run(["image", "rm", "empty"]);
    user.fetch(0, &[]);
}

#[test]
fn what_cannot_be_had_says_why() {
    let user = User::new(SIGNED);
    for (mood, reason) in [(Mood::Gone, "there is no such file"), (Mood::Broken, "the server answers 503")] {
        user.mirror.is(mood);
        let said = user.fetch(2, &[]);
        assert!(said.contains(reason) && said.contains("hint: "), "{said}");
    }
    let said = user.fetch(2, &["--sha256", "abc"]);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    let said = user.fetch(2, &["--keyring", "none.gpg"]);
    assert!(said.contains("there are no keys in none.gpg"), "{said}");
    let nobody = User::new("url: http://127.0.0.1:1/empty.raw\nsums: http://127.0.0.1:1/SUMS\n");
    let said = nobody.fetch(2, &["--sha256", &told()]);
    assert!(said.contains("cannot fetch http://127.0.0.1:1/"), "{said}");
}

#[test]
fn nothing_unsigned_is_taken_unasked() {
    let user = User::new("url: MIRROR/empty.raw\nsums: MIRROR/SHA256SUMS\n");
    for options in [&[][..], &["--unsigned"]] {
        let said = user.fetch(2, options);
        assert!(
            said.contains("nothing that is signed says what") && said.contains("could be anybody's"),
            "{said}"
        );
    }
    assert!(user.mirror.asked().is_empty());
    // Whoever knows the hash needs nobody's word.
    assert!(user.fetch(0, &["--sha256", &told()]).contains("known by the SHA-256 that was told"));
}

#[test]
fn a_signature_of_somebody_else_does_not_hold() {
    let forged = SIGNED.replace("SHA256SUMS\n", "FORGED\n");
    let said = User::new(&forged).fetch(2, &[]);
    assert!(said.contains("signature does not hold"), "{said}");
    let mangled = SIGNED.replace("SHA256SUMS.gpg", "SHA256SUMS");
    assert!(User::new(&mangled).fetch(2, &[]).contains("signature does not hold"));
}

#[test]
fn a_signature_of_the_disk_itself_is_held() {
    let recipe = "url: MIRROR/empty.raw\nsums: MIRROR/SHA512SUMS\nsignature: MIRROR/empty.raw.sig\nsigns: image\nkeyring: keys.gpg\n";
    let user = User::new(recipe);
    user.mirror.is(Mood::Other);
    let said = user.fetch(2, &[]);
    assert!(said.contains(&hex::encode(Sha512::digest(vec![1; LENGTH]))), "{said}");
    user.mirror.is(Mood::Whole);
    assert!(user.fetch(0, &[]).contains("a signature by a key of"));
    let wrong = recipe.replace("empty.raw.sig", "SHA256SUMS.gpg");
    assert!(User::new(&wrong).fetch(2, &[]).contains("signature does not hold"));
}

#[test]
fn machines_of_a_disk_that_has_not_come_say_how_to_get_it() {
    let place = Place::new();
    for (image, reasons) in [
        ("debian-12", &["has not been fetched", "hint: natrig image fetch debian-12"][..]),
        ("debian-99", &["no image is called `debian-99`", "known are alpine"]),
        ("none.qcow2", &["none.qcow2 is no image", "there is no such file"]),
        ("text.img", &["text.img is no image", "it has 512 bytes"]),
    ] {
        fs::write(place.work().join("text.img"), [0; 512]).unwrap();
        let text = format!(
            "{{name: Other machines, nat1: symmetric, nat2: symmetric, expected: relay, machines: {{peer: {{image: {image}}}}}}}"
        );
        fs::write(place.work().join("one.yaml"), text).unwrap();
        let output = place.run(["run", "one.yaml"]);
        assert_code(&output, 2);
        let said = stderr(&output);
        assert!(reasons.iter().all(|reason| said.contains(reason)), "{said}");
    }
}
