//! Whose fault it is when a node is heard of no more.

mod rig;

use std::time::{Duration, Instant};

use natrig_lab::Halt;
use natrig_machines::{
    Trouble, Who,
    node::{Node, Voice},
};
use natrig_scenario::Machine;
use rig::{boot, scenario};

/// What a wait for an event that never comes says, once `then` was done to the lab.
fn wait(script: &str, then: impl FnOnce(&natrig_machines::Lab)) -> Trouble {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario("full-cone", "full-cone"), folder.path());
    let log = tempfile::tempfile().unwrap();
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let node = Node::start(
        lab.agent(Machine::PEER1).unwrap(),
        Machine::PEER1,
        (argv, Vec::new()),
        Voice::Ours,
        log,
        |_| (),
    )
    .unwrap();
    then(&lab);
    let deadline = Instant::now() + Duration::from_secs(60);
    node.wait_for("it had started", deadline, &Halt::default(), |event| event.is("started")).unwrap_err()
}

#[test]
fn a_node_that_ends_is_the_nodes_fault() {
    let trouble = wait("echo so long; exit 3", |_| ());
    assert_eq!(trouble.who, Who::Node);
    assert_eq!(trouble.message, "peer1 ended before it had started: exit code 3");
    assert_eq!(trouble.lines, ["so long"]);
}

#[test]
fn a_machine_that_dies_is_the_labs_fault() {
    let trouble = wait("sleep 1000", |lab| {
        lab.member(Machine::PEER1).unwrap().machine().kill().unwrap();
    });
    assert_eq!(trouble.who, Who::Lab, "{trouble:?}");
    assert!(trouble.message.contains("its machine is gone"), "{trouble:?}");
}
