//! Labs on real machines: what a test sees of them, and what they leave.

use std::{
    fs,
    path::Path as FilePath,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use natrig_rig::{Error, Exit, Kind, Outcome, Path, Programs, Rig};
use rustix::process::{Pid, Signal, kill_process};

const CONES: &str = "{name: cones, nat1: full-cone, nat2: full-cone, expected: any}";

/// A rig whose machines no other test takes.
async fn alone() -> Result<Rig, Error> {
    Rig::with(Programs::find()?).await
}

/// The machines of a program, by the numbers of their processes.
fn machines_of(program: u32) -> Vec<i32> {
    let parent = program.to_string();
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    numbers
        .filter_map(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let alive = fields.next()? != "Z";
            (alive && name.starts_with("qemu") && fields.next()? == parent)
                .then(|| entry.file_name().to_str()?.parse().ok())?
        })
        .collect()
}

/// Tests that count machines are alone in this.
static COUNTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
#[ignore = "long: make test-full"]
async fn another_path_than_the_expected_one_fails() -> Result<(), Error> {
    let _alone = COUNTING.lock().await;
    let rig = Rig::shared().await?;
    let relayed = "{name: no relay, nat1: full-cone, nat2: full-cone, expected: relay}";
    let record = rig.run(relayed).await?;
    assert_eq!(record.outcome, Outcome::NotAsExpected, "{record}");
    assert_eq!((record.path(), record.kind()), (Path::Direct, Some(Kind::Direct)));
    assert!(
        record.to_string().starts_with("no-relay: NOT as expected; expected relay, the wire shows direct\n")
    );
    assert!(record.folder().join("captures/nat1.wan.pcapng").exists());

    // A lab that breaks is no outcome at all.
    let broken = "{name: deaf, nat1: full-cone, nat2: full-cone, expected: relay, links: [{link: nat1.wan, cut: true}]}";
    let Err(Error::Unjudged(record)) = rig.run(broken).await else {
        panic!("a gateway nobody reaches was proven")
    };
    assert!(record.to_string().contains("LAB ERROR") && record.folder().exists(), "{record}");
    fs::remove_dir_all(record.folder()).unwrap();
    Ok(())
}

#[tokio::test]
#[ignore = "long: make test-full"]
async fn bytes_that_nobody_passes_on_took_no_way() -> Result<(), Error> {
    let _alone = COUNTING.lock().await;
    let lab = Rig::shared()
        .await?
        .lab("{name: cut, nat1: full-cone, nat2: symmetric, expected: any, carry: 10}")
        .await?;
    lab.connect("peer1", "peer2").await?;
    assert_eq!(lab.fault("cut nat2.wan").await?, "cut nat2.wan");
    assert_eq!(lab.state().cut, ["nat2.wan"]);
    let carried = lab.carry("peer1", "peer2").await?;
    assert_eq!(carried.path, Path::None, "{carried}");
    assert!(carried.missing.is_some(), "{carried}");

    lab.fault("heal nat2.wan").await?;
    lab.connect("peer1", "peer2").await?;
    // What was on its way before may arrive now, and is not what is asked for.
    let carried = lab.carry("peer1", "peer2").await?;
    assert_ne!(carried.path, Path::None, "{carried}");
    assert!(carried.directions.iter().all(|one| one.arrived == one.sent), "{carried}");
    Ok(())
}

#[tokio::test]
#[ignore = "long: make test-full"]
async fn machines_serve_one_lab_after_the_other_until_they_are_worn() -> Result<(), Error> {
    let _alone = COUNTING.lock().await;
    let rig = alone().await?;
    let served = async || -> Result<f64, Error> {
        let record = rig.run(CONES).await?;
        assert_eq!(record.outcome, Outcome::AsExpected, "{record}");
        Ok(record.figures["cells_before_in_these_machines"])
    };
    assert_eq!(served().await?, 0.0);
    let lab = rig.lab(CONES).await?;
    lab.fault("kill peer1").await?;
    lab.fault("impair nat1.wan loss 100%").await?;
    drop(lab);
    assert_eq!(served().await?, 2.0);
    let lab = rig.lab(CONES).await?;
    lab.fault("rebind nat1").await?;
    lab.down().await?;
    assert_eq!(served().await?, 0.0, "nobody has shown what a gateway is like that lost its state");
    let lab = rig.lab(CONES).await?;
    assert_eq!(lab.exec("peer1", &["true"]).await?.status, Exit::Code(0));
    lab.down().await?;
    assert_eq!(served().await?, 0.0, "nobody knows what a program did");
    Ok(())
}

#[tokio::test]
#[ignore = "long: make test-full"]
async fn whatever_ends_a_lab_its_machines_are_gone() -> Result<(), Error> {
    let _alone = COUNTING.lock().await;
    let machines = || machines_of(std::process::id());
    let before = machines();
    let rig = alone().await?;
    let lab = rig.lab(CONES).await?;
    let folder = lab.folder().to_owned();
    let own = || machines().into_iter().filter(|machine| !before.contains(machine)).count();
    assert_eq!(own(), 5);
    // A test that panics, or is told to stop, while somebody still waits in its lab.
    let falls = tokio::spawn(async move {
        let waiting = lab.fault("idle 10m");
        let _ = tokio::time::timeout(Duration::from_millis(200), waiting).await;
        assert!(lab.folder().join("captures").is_dir());
        panic!("as it was told to");
    });
    assert!(falls.await.unwrap_err().is_panic());
    assert_eq!(own(), 0);
    // What explains it stays.
    assert!(folder.join("captures/nat1.wan.pcapng").exists());
    fs::remove_dir_all(&folder).unwrap();

    // One that nobody waits for any more, while it comes up.
    let up = tokio::time::timeout(Duration::from_millis(300), rig.lab(CONES)).await;
    assert!(up.is_err(), "it stood before it could be given up");
    let lab = rig.lab(CONES).await?;
    let folder = lab.folder().to_owned();
    lab.down().await?;
    assert!(!folder.exists());
    drop(rig);
    assert_eq!(own(), 0);
    Ok(())
}

/// Names the test below; without it nothing happens there.
const ENDLESS: &str = "NATRIG_TEST_ENDLESS";

#[tokio::test]
#[ignore = "long: make test-full"]
async fn ctrl_c_takes_the_machines_along() -> Result<(), Error> {
    let _alone = COUNTING.lock().await;
    let program = std::env::current_exe().unwrap();
    let mut test = Command::new(&program);
    test.args(["--exact", "a_test_that_does_not_end"]).env(ENDLESS, "1").stdout(Stdio::null());
    let mut test = test.spawn().unwrap();
    let folder = program.with_file_name(format!("natrig-labs/endless-{}-1", test.id()));
    until("its lab stands", || {
        let connected = fs::read_to_string(folder.join("faults.log")).unwrap_or_default();
        assert!(test.try_wait().unwrap().is_none(), "it has ended");
        connected.contains("connect peer1 to peer2")
    })
    .await;
    let machines = machines_of(test.id());
    assert_eq!(machines.len(), 5);
    kill_process(Pid::from_child(&test), Signal::INT).unwrap();
    assert_eq!(test.wait().unwrap().code(), None);
    // The kernel ends them after their parent.
    until("its machines are gone", || {
        machines.iter().all(|machine| !FilePath::new(&format!("/proc/{machine}")).exists())
    })
    .await;
    assert!(folder.join("captures/nat1.wan.pcapng").exists());
    fs::remove_dir_all(&folder).unwrap();
    Ok(())
}

/// Does nothing but in the process that the one above starts.
#[tokio::test]
async fn a_test_that_does_not_end() -> Result<(), Error> {
    if std::env::var_os(ENDLESS).is_none() {
        return Ok(());
    }
    let endless = "{name: endless, nat1: full-cone, nat2: full-cone, expected: any}";
    let lab = alone().await?.lab(endless).await?;
    lab.connect("peer1", "peer2").await?;
    std::future::pending().await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "long: make test-full"]
async fn what_a_lab_cannot_do_is_an_error_with_its_remedy() -> Result<(), Error> {
    let _alone = COUNTING.lock().await;
    let lab = Rig::shared().await?.lab(CONES).await?;
    let told = |error: Error, phrases: &[&str]| {
        let text = error.to_string();
        for phrase in phrases {
            assert!(text.contains(phrase), "`{phrase}` is not in\n{text}");
        }
        error
    };
    told(lab.fault("cut nat1-wan").await.unwrap_err(), &["`nat1-wan` is no link", "nat1.wan"]);
    told(lab.connect("peer1", "peer3").await.unwrap_err(), &["`peer3`", "hint: there are"]);
    told(lab.exec("nat9", &["true"]).await.unwrap_err(), &["`nat9`", "hint: there are"]);
    assert!(matches!(
        told(lab.exec("peer1", &["no-such-program"]).await.unwrap_err(), &["peer1: ", "no-such-program"]),
        Error::Lab(_)
    ));
    lab.fault("kill peer2").await?;
    assert!(matches!(
        told(lab.expect("connected at peer1 within 100ms").await.unwrap_err(), &["expected within 0.1 s"]),
        Error::Node(_)
    ));
    told(
        lab.fault("pause peer2").await.unwrap_err(),
        &["no node that runs", "hint: natrig fault restart peer2"],
    );
    let output = lab.exec("peer1", &["sh", "-c", "hostname; echo no >&2; exit 3"]).await?;
    assert_eq!(
        (output.status, &output.stdout[..], &output.stderr[..]),
        (Exit::Code(3), &b"peer1\n"[..], &b"no\n"[..])
    );
    assert!(!lab.trace().await?.frames().is_empty());
    lab.down().await
}
