//! The one way an error leaves the program.

use std::path::PathBuf;

use natrig_scenario::Problem;

/// Why a command could not do its work; exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A scenario file is wrong.
    #[error("{}", .0)]
    Scenario(Box<Problem>),
    /// QEMU, images, templates, programs.
    #[cfg(feature = "machines")]
    #[error(transparent)]
    Rig(#[from] natrig_machines::RigError),
    /// An image of a distribution.
    #[cfg(feature = "machines")]
    #[error(transparent)]
    Image(#[from] natrig_machines::cloud::CloudError),
    /// The cache.
    #[cfg(feature = "machines")]
    #[error(transparent)]
    Machines(#[from] natrig_vmm::Error),
    /// Results could not be written.
    #[error(transparent)]
    Report(#[from] natrig_report::WriteError),
    /// A folder or file of a run.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The user asked for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// A lab that is up, or work that panicked.
    #[error("{0}")]
    Lab(String),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Scenario(Box::new(problem))
    }
}

impl Failure {
    /// What stderr shows.
    pub fn render(&self) -> String {
        match self {
            Failure::Scenario(problem) => problem.render(natrig_report::Style::of(&std::io::stderr()).color),
            other => format!("error: {other}"),
        }
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        2
    }
}
