//! A lab that stays up, driven by a test.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use natrig_capture::Trace;
use natrig_lab::{Halt, verdict};
use natrig_machines::{Live, State, Trouble, Who, passes};
use natrig_scenario::{Machine, Scenario};
use natrig_vmm::Output;

use crate::{Carried, Error, blocking::blocking, folder::Folder, words::words};

/// How long a program in a machine may run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scenario's machines, running, with proven gateways and nodes that have found their relay.
///
/// It ends when it is dropped, or by [`Lab::down`]. If it is as clean as its machines can be shown to be, these serve the next lab; a
/// fault in a gateway or a machine, and a program of one's own in it, end that.
#[derive(Debug)]
pub struct Lab {
    /// None once it is down.
    live: Option<Arc<Live>>,
    scenario: Scenario,
    folder: Folder,
    /// Whether something was done that may be more than its machines can be cleaned of.
    worn: AtomicBool,
}

impl Lab {
    pub(crate) fn new(live: Live, folder: Folder) -> Self {
        let scenario = live.scenario().clone();
        Lab { live: Some(Arc::new(live)), scenario, folder, worn: AtomicBool::new(false) }
    }

    /// What it was made from.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Where its captures and logs are, for as long as there is a lab; and after it if something failed.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Tells a peer's node to connect to another one's, and waits until both say that their path is final. It may take as long as
    /// the scenario's `timeout`.
    pub async fn connect(&self, from: &str, to: &str) -> Result<(), Error> {
        let (pair, within) = ([self.machine(from)?, self.machine(to)?], self.scenario.timeout);
        self.with(move |live, halt| live.connect(pair, within, halt)).await
    }

    /// Breaks or mends something, in the words of `natrig fault` or in YAML: `cut nat2.wan`, `impair: nat1.wan, like: 4g`. It is over
    /// when it has taken effect and was read back; what was done is given back as a phrase.
    pub async fn fault(&self, said: &str) -> Result<String, Error> {
        let action = self.scenario.action(&words(said))?;
        if !passes(&action) {
            self.worn.store(true, Ordering::Relaxed);
        }
        self.with(move |live, halt| live.befall(&action, halt)).await
    }

    /// Waits until a node reports an event, or has done so since something was last done: `settled at peer1 within 30s`, or
    /// with fields, `pathChanged at peer1 with {to: relay}`; docs/scenarios.md has all of it.
    pub async fn expect(&self, event: &str) -> Result<(), Error> {
        self.fault(&format!("expect {event}")).await.map(drop)
    }

    /// Has two peers carry 256 KiB of random bytes to each other at once, and reads from the captures which way these went. They
    /// may take as long as the scenario's `carry`; that they did not arrive is no error, but [`Path::None`](crate::Path::None).
    ///
    /// Nodes that are not connected connect for it, and may change their path meanwhile.
    pub async fn carry(&self, from: &str, to: &str) -> Result<Carried, Error> {
        let (pair, within) = ([self.machine(from)?, self.machine(to)?], self.scenario.carry);
        let carried = self.with(move |live, halt| live.carry(pair, within, halt)).await?;
        let (verdict::Carried { path, directions }, missing) = carried;
        let missing = missing.map(|trouble| trouble.message);
        Ok(Carried { path, peers: pair.map(Machine::name), directions, missing })
    }

    /// What is broken, and which way nodes reach each other by their own word. To know it, [`carry`](Self::carry) something.
    pub fn state(&self) -> State {
        self.live.as_ref().map(|live| live.state()).unwrap_or_default()
    }

    /// Runs a program in a machine to its end, as root.
    pub async fn exec(&self, machine: &str, argv: &[&str]) -> Result<Output, Error> {
        let machine = self.machine(machine)?;
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        self.worn.store(true, Ordering::Relaxed);
        self.with(move |live, _| {
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            live.agent(machine)?.run(&argv, &[], PATIENCE).map_err(|error| Trouble::from(error).at(machine))
        })
        .await
    }

    /// All that the wires have seen so far, read back from the captures.
    pub async fn trace(&self) -> Result<Trace, Error> {
        self.with(|live, _| live.trace()).await
    }

    /// Takes it down and waits until its machines are gone, or clean for another lab. Whoever does so has seen that all went well:
    /// captures and logs go, too, whatever had failed.
    pub async fn down(mut self) -> Result<(), Error> {
        self.folder.let_go();
        if let Some(live) = self.live.take() {
            let worn = self.worn.load(Ordering::Relaxed);
            blocking(move |_| end(live, worn)).await?;
        }
        Ok(())
    }

    /// Does what blocks; what fails leaves its evidence.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Live, &Halt) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(live) = self.live.clone() else { return Err(Trouble::lab("the lab is down").into()) };
        blocking(move |halt| work(&live, halt)).await?.map_err(|trouble| {
            if trouble.who == Who::Lab {
                self.worn.store(true, Ordering::Relaxed);
            }
            self.folder.explain(trouble)
        })
    }

    fn machine(&self, name: &str) -> Result<Machine, Error> {
        machine(&self.scenario, name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            // A test that panics is not kept waiting for machines of which nobody knows what became.
            end(live, std::thread::panicking() || self.worn.load(Ordering::Relaxed));
        }
    }
}

/// Ends a lab, with its machines or not.
fn end(live: Arc<Live>, worn: bool) {
    match Arc::try_unwrap(live) {
        Ok(live) if !worn => live.leave(),
        Ok(live) => live.end(),
        // Somebody stopped waiting for something that is just about to end.
        Err(live) => live.end(),
    }
}

fn machine(scenario: &Scenario, name: &str) -> Result<Machine, Error> {
    let machines = scenario.layout().machines().collect::<Vec<_>>();
    let found = machines.iter().find(|machine| machine.name() == name).copied();
    found.ok_or_else(|| Error::Machine {
        name: name.to_owned(),
        there: machines.into_iter().map(Machine::name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_not_there_is_told_with_those_that_are() {
        let text = "{name: x, nat1: public, nat2: public, expected: direct}";
        let scenario = Scenario::parse("x", text).unwrap().remove(0);
        assert_eq!(machine(&scenario, "peer2").unwrap(), Machine::PEER2);
        // A name that other scenarios have is none here.
        for name in ["peer3", "PEER1", "", "nat1.wan"] {
            let error = machine(&scenario, name).unwrap_err().to_string();
            let told =
                format!("no machine is called `{name}`\nhint: there are nat1, nat2, peer1, peer2, relay");
            assert_eq!(error, told);
        }
    }
}
