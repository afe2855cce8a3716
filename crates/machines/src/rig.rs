//! What all labs of a run share.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::Instant,
};

use natrig_lab::{
    Halt,
    proof::{Depth, Held},
};
use natrig_scenario::{Base, Disk, Gateway, Scenario};
use natrig_vmm::{
    Accelerator, AppDisk, Choice, CloudImage, CloudSpec, Image, ImageSpec, Origin, PackageSource, Qemu,
    Shape, Store, Template,
};

use crate::{
    Lab, Trouble,
    cloud::{self, CloudError},
    foreign::Worlds,
    kind::Kind,
    lab::{self, lock},
    reuse::Spare,
};

/// The programs that go into guests; files beside natrig's own.
#[derive(Debug, Clone)]
pub struct Programs {
    /// PID 1, agent, STUN server and prober.
    pub guest: PathBuf,
    /// The node under test.
    pub node: PathBuf,
}

/// Why nothing can be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RigError {
    /// A program is missing.
    #[error("the program {} is missing: {source}\nhint: `make build` makes it", path.display())]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A node that is not omerta-mesh cannot run in a machine.
    #[error("the app {name} ({file}): {source}")]
    App {
        /// What it is called.
        name: String,
        /// Where it stands.
        file: String,
        /// What is wrong with it.
        source: natrig_vmm::Error,
    },
    /// A distribution's image cannot be had.
    #[error(transparent)]
    Image(#[from] CloudError),
    /// QEMU, the image or a template.
    #[error(transparent)]
    Machines(#[from] natrig_vmm::Error),
}

impl Programs {
    /// Finds them beside the running program, or where `NATRIG_PROGRAMS` says.
    pub fn find() -> Result<Self, RigError> {
        match std::env::var_os("NATRIG_PROGRAMS") {
            Some(folder) => Programs::in_folder(Path::new(&folder)),
            None => {
                let here = std::env::current_exe()
                    .map_err(|source| RigError::Program { path: "natrig".into(), source })?;
                Programs::in_folder(here.parent().unwrap_or(Path::new(".")))
            }
        }
    }

    /// Those in a folder.
    pub fn in_folder(folder: &Path) -> Result<Self, RigError> {
        let programs = Programs { guest: folder.join("natrig-guest"), node: folder.join("omerta-mesh") };
        for path in [&programs.guest, &programs.node] {
            std::fs::metadata(path).map_err(|source| RigError::Program { path: path.clone(), source })?;
        }
        Ok(programs)
    }
}

/// Image, templates and disk, ready for labs. Clones share templates, and machines that wait for a cell.
#[derive(Debug, Clone)]
pub struct Rig {
    pub(crate) store: Store,
    pub(crate) qemu: Qemu,
    pub(crate) image: Image,
    /// Those with other kernels, by the kernel's package.
    images: Arc<Mutex<HashMap<String, Image>>>,
    /// Disks of distributions.
    cloud_images: Arc<Mutex<HashMap<Disk, CloudImage>>>,
    programs: Programs,
    packages: PackageSource,
    pub(crate) choice: Choice,
    /// With omerta-mesh.
    pub(crate) disk: AppDisk,
    /// With other nodes.
    pub(crate) worlds: Arc<Mutex<Worlds>>,
    pub(crate) seed: u64,
    templates: Arc<Mutex<HashMap<Kind, Template>>>,
    /// Machines that have served a cell and may serve another.
    idle: Arc<Mutex<Vec<Spare>>>,
    fresh: bool,
    /// How many bytes of each capture are kept, if not all.
    pub(crate) ring: Option<u64>,
    /// Gateways that were measured wholly and hold.
    pub(crate) held: Arc<Held>,
}

impl Rig {
    /// Makes what is missing: the image, the accelerator's trial, the disk with the node, the default template.
    pub fn prepare(
        programs: &Programs,
        packages: PackageSource,
        seed: u64,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, RigError> {
        let store = Store::open_default()?;
        let qemu = Qemu::find()?;
        let image = image_with(&store, programs, packages.clone(), None, progress)?;
        let choice = Accelerator::choose(&store, &qemu, &image, progress)?;
        let disk = AppDisk::build(&store, [("omerta-mesh", programs.node.as_path(), 0o755)])?;
        let rig = Rig {
            store,
            qemu,
            image,
            images: Arc::default(),
            cloud_images: Arc::default(),
            programs: programs.clone(),
            packages,
            choice,
            disk,
            worlds: Arc::default(),
            seed,
            templates: Arc::default(),
            idle: Arc::default(),
            fresh: false,
            ring: None,
            held: Arc::default(),
        };
        rig.template(&Kind::usual(), progress)?;
        Ok(rig)
    }

    /// Has every cell boot machines of its own, instead of machines that served another cell.
    pub fn fresh(&mut self) {
        self.fresh = true;
    }

    /// Keeps of each capture the newest packets only, at most this many bytes of them: for labs that stay up.
    pub fn keep_newest(&mut self, bytes: u64) {
        self.ring = Some(bytes);
    }

    /// The machines of a cell: those of an earlier one made new, where they fit and can be shown to be clean; else just
    /// booted.
    pub(crate) fn lab(&self, scenario: &Scenario, folder: &Path, halt: &Halt) -> Result<Lab, Trouble> {
        // One that does not fit makes room for one that does.
        let spare = lock(&self.idle).pop();
        if let Some(spare) = spare.filter(|spare| spare.fits(self, scenario)) {
            match spare.renew(self, scenario, folder, halt) {
                Ok(lab) => return Ok(lab),
                Err(trouble) => tracing::info!("new machines for {}: {trouble}", scenario.id),
            }
        }
        Lab::boot(self, scenario, folder, halt)
    }

    /// How deep a gateway must be measured: wholly, unless it was and holds. Another kernel may do otherwise.
    pub(crate) fn depth(&self, scenario: &Scenario, gateway: &Gateway) -> Depth {
        if scenario.has_kernels() { Depth::Whole } else { self.held.depth(gateway) }
    }

    /// The gateways of a scenario hold.
    pub(crate) fn holds(&self, scenario: &Scenario) {
        if !scenario.has_kernels() {
            self.held.hold(scenario);
        }
    }

    /// Takes the machines of a cell that has ended well back, unless they cannot be shown to be clean.
    pub(crate) fn take_back(&self, lab: Lab) {
        if self.fresh || lab.has_tenants() {
            return;
        }
        match lab.clean() {
            Ok(spare) => lock(&self.idle).push(spare),
            Err(trouble) => tracing::info!("machines are not used again: {trouble}"),
        }
    }

    /// Ends machines that wait for a cell.
    pub(crate) fn give_up_idle(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
    }

    /// Makes the templates of all sizes that scenarios set, and the disks of their apps, so that no cell has to wait for one.
    pub fn ready_for(&self, scenarios: &[Scenario], progress: &mut dyn FnMut(&str)) -> Result<(), RigError> {
        for scenario in scenarios {
            self.disk_of(scenario, progress)?;
        }
        let kinds = scenarios
            .iter()
            .flat_map(|scenario| scenario.layout().machines().map(|name| lab::kind(scenario, name)));
        let kinds = Mutex::new(kinds.collect::<BTreeSet<Kind>>().into_iter());
        let next = || lock(&kinds).next();
        let (say, said) = mpsc::channel::<String>();
        let work = |say: mpsc::Sender<String>| -> Result<(), RigError> {
            while let Some(kind) = next() {
                // Who listens goes on until all have ended.
                self.template(&kind, &mut |message| drop(say.send(message.to_owned())))?;
            }
            Ok(())
        };
        // A guest that boots takes one processor.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let spawn = |say: mpsc::Sender<String>| scope.spawn(|| work(say));
            let workers: Vec<_> = vec![say; processors].into_iter().map(spawn).collect();
            said.iter().for_each(|message| progress(&message));
            let join = |worker: std::thread::ScopedJoinHandle<'_, Result<(), RigError>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().try_for_each(join)
        })
    }

    /// The template of a kind, made if there is none.
    pub(crate) fn template(&self, kind: &Kind, progress: &mut dyn FnMut(&str)) -> Result<Template, RigError> {
        if let Some(template) = lock(&self.templates).get(kind) {
            return Ok(template.clone());
        }
        let started = Instant::now();
        let shape = Shape { memory_mb: kind.memory_mb, nics: 2 };
        let build = |origin: Origin<'_>, progress: &mut dyn FnMut(&str)| {
            Template::build(&self.store, &self.qemu, origin, self.choice.accelerator, shape, progress)
        };
        let template = match &kind.base {
            None => build(Origin::Micro(&self.image), progress)?,
            Some(Base::Kernel(kernel)) => build(Origin::Micro(&self.image_of(kernel, progress)?), progress)?,
            Some(Base::Image { disk, cloud_init }) => {
                let image = self.cloud_image(disk)?;
                let user_data = cloud::told(cloud_init.as_deref(), kind.role)?;
                let spec = CloudSpec { image: &image, user_data: &user_data, guests: &self.image };
                build(Origin::Cloud(spec), progress)?
            }
        };
        tracing::debug!(?kind, elapsed = ?started.elapsed(), "template ready");
        lock(&self.templates).insert(kind.clone(), template.clone());
        Ok(template)
    }

    /// A distribution's disk, looked at once.
    fn cloud_image(&self, disk: &Disk) -> Result<CloudImage, RigError> {
        let mut images = lock(&self.cloud_images);
        if let Some(image) = images.get(disk) {
            return Ok(image.clone());
        }
        let image = cloud::image(&self.store, disk)?;
        images.insert(disk.clone(), image.clone());
        Ok(image)
    }

    /// The image with a kernel.
    fn image_of(&self, kernel: &str, progress: &mut dyn FnMut(&str)) -> Result<Image, RigError> {
        let mut images = lock(&self.images);
        if let Some(image) = images.get(kernel) {
            return Ok(image.clone());
        }
        let image = image_with(&self.store, &self.programs, self.packages.clone(), Some(kernel), progress)?;
        images.insert(kernel.to_owned(), image.clone());
        Ok(image)
    }

    /// Forgets a template whose copies do not come up, and removes its files.
    pub(crate) fn discard(&self, kind: &Kind) -> Result<(), RigError> {
        let removed = lock(&self.templates).remove(kind);
        if let Some(template) = removed {
            template.discard()?;
        }
        Ok(())
    }

    /// What guests run on, and why.
    pub fn accelerator(&self) -> &Choice {
        &self.choice
    }

    /// The emulator.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// The guests' image.
    pub fn image(&self) -> &Image {
        &self.image
    }
}

/// Opens or makes the guests' image.
pub fn build_image(
    store: &Store,
    programs: &Programs,
    packages: PackageSource,
    progress: &mut dyn FnMut(&str),
) -> Result<Image, RigError> {
    image_with(store, programs, packages, None, progress)
}

/// Opens or makes the image with a kernel.
fn image_with(
    store: &Store,
    programs: &Programs,
    packages: PackageSource,
    kernel: Option<&str>,
    progress: &mut dyn FnMut(&str),
) -> Result<Image, RigError> {
    let guest_program = std::fs::read(&programs.guest)
        .map_err(|source| RigError::Program { path: programs.guest.clone(), source })?;
    let spec = ImageSpec { guest_program: &guest_program, packages, kernel };
    Ok(Image::build(store, &spec, progress)?)
}
