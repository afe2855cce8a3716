//! Configuring a node with an invitation.

use std::io;
use std::path::PathBuf;

use omerta_mesh::Invite;
use serde_json::json;

use crate::config_file::{ConfigError, ConfigFile};
use crate::home::{Home, replace};

/// The node cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The configuration that there is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is of another mesh.
    #[error("{0} is configured for another mesh\nhint: `join --replace` leaves it")]
    Other(PathBuf),
    /// It cannot be written.
    #[error("cannot write the configuration {path}: {why}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Standard output.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes what the invitation says into the home's configuration. Other settings stay, comments do not.
pub fn join(home: &Home, invite: &Invite, leave: bool, json: bool) -> Result<(), JoinError> {
    let path = home.config();
    let old = ConfigFile::read(&path)?.unwrap_or_default();
    let mut new = old.clone();
    new.join(invite);
    if old.has_mesh() && new != old && !leave {
        return Err(JoinError::Other(path));
    }
    if new != old {
        let failed = |why: String| JoinError::Write { path: path.clone(), why };
        let text = new.text().map_err(failed)?;
        replace(&path, text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let runs = std::os::unix::net::UnixStream::connect(home.control()).is_ok();
    if json {
        println!("{}", json!({"config": path, "changed": new != old, "restart": runs}));
    } else {
        println!("joined; the configuration is in {}", path.display());
        println!(
            "{}",
            if runs { "restart the node that runs now" } else { "start the node with: omerta-mesh run" }
        );
    }
    Ok(())
}
