//! What all labs of a test program share.

use std::path::PathBuf;

use natrig_lab::{Backend, Halt};
use natrig_machines::{Live, Programs};
use natrig_record::What;
use natrig_vmm::PackageSource;
use tokio::sync::OnceCell;

use crate::{Error, Lab, Record, Source, blocking::blocking, folder::Place};

static SHARED: OnceCell<Rig> = OnceCell::const_new();

/// What labs are made with: the guests' image, templates, the node's disk, and machines that a lab has left clean for the next one.
/// Clones share all that.
#[derive(Debug, Clone)]
pub struct Rig {
    machines: natrig_machines::Rig,
    place: Place,
}

impl Rig {
    /// The one of this test program, made by who asks first. The programs of the guests are taken from the folder that
    /// `NATRIG_PROGRAMS` names, or from beside the test program.
    ///
    /// The first time on a host it fetches Debian's packages and boots a guest, which takes a minute; `tracing` tells what is
    /// being done.
    pub async fn shared() -> Result<Rig, Error> {
        let made = SHARED.get_or_try_init(|| async { Rig::with(Programs::find()?).await });
        made.await.cloned()
    }

    /// Another one, which shares nothing with others but what is cached on disk.
    pub async fn with(programs: Programs) -> Result<Rig, Error> {
        let packages = PackageSource::of_environment();
        let prepare = move |_: &Halt| {
            let mut tell = |message: &str| tracing::info!("{message}");
            natrig_machines::Rig::prepare(&programs, packages, rand::random(), &mut tell)
        };
        Ok(Rig { machines: blocking(prepare).await??, place: Place::beside_the_program() })
    }

    /// Has captures and logs of labs lie in a folder, and stay there whatever comes of a test.
    pub fn keeping(self, folder: impl Into<PathBuf>) -> Rig {
        Rig { place: Place::kept_in(folder.into()), ..self }
    }

    /// Runs a scenario from start to verdict: boots its machines, proves its gateways, has its nodes connect while its faults
    /// happen, and judges from the captures. `natrig run` does the same.
    pub async fn run(&self, scenario: impl Into<Source>) -> Result<Record, Error> {
        let scenario = scenario.into().read()?;
        let folder = self.place.folder(&scenario.id)?;
        let machines = self.machines.clone();
        let run = move |halt: &Halt| {
            let tell = |what: What| tracing::debug!(?what);
            let cell = machines.run(&scenario, 1, folder.path(), &tell, halt);
            Record::new(cell, folder)
        };
        blocking(run).await?.judged()
    }

    /// Boots a scenario's machines, proves its gateways and starts its nodes, and leaves all that running: nobody is told to
    /// connect, and no fault of it happens. `natrig up` does the same.
    pub async fn lab(&self, scenario: impl Into<Source>) -> Result<Lab, Error> {
        let scenario = scenario.into().read()?;
        let folder = self.place.folder(&scenario.id)?;
        let machines = self.machines.clone();
        let tell = |what: &What| tracing::debug!(?what);
        let stand = move |halt: &Halt| (Live::stand(machines, scenario, folder.path(), halt, tell), folder);
        match blocking(stand).await? {
            (Ok(live), folder) => Ok(Lab::new(live, folder)),
            (Err(trouble), folder) => Err(folder.explain(trouble)),
        }
    }
}
