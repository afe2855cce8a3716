//! Distributions' images by what scenarios and people call them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use natrig_scenario::{Disk, Problem, Recipe, Signs};
use natrig_vmm::{CloudImage, Published, Shelf, Signed, Store};

use crate::kind::Role;

/// The recipes that come with natrig, by the names of their files.
const RECIPES: [(&str, &str); 3] = [
    ("alpine-3.20", include_str!("../../../images/alpine-3.20.yaml")),
    ("debian-12", include_str!("../../../images/debian-12.yaml")),
    ("ubuntu-24.04-minimal", include_str!("../../../images/ubuntu-24.04-minimal.yaml")),
];

/// What cloud-init is told may have this many bytes.
const MOST_TOLD: u64 = 256 << 10;

/// Why a distribution's image cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudError {
    /// A recipe has mistakes.
    #[error("{}", .0.render(false).trim_end())]
    Recipe(#[from] Box<Problem>),
    /// No recipe has that name.
    #[error("no image is called `{name}`\nhint: known are {}; a path ends in .qcow2, .img, .raw or .yaml", RECIPES.map(|(name, _)| name).join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// It has not been fetched.
    #[error("the image {name} has not been fetched from {url}\nhint: natrig image fetch {file}")]
    Absent {
        /// What it is called.
        name: String,
        /// Where it is.
        url: String,
        /// What names it.
        file: String,
    },
    /// What cloud-init is to be told cannot be read.
    #[error("cannot read what cloud-init is told, {}: {error}", path.display())]
    Told {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The image itself.
    #[error(transparent)]
    Image(#[from] natrig_vmm::Error),
}

/// All recipes that come with natrig.
pub fn recipes() -> Result<Vec<Recipe>, CloudError> {
    RECIPES.iter().map(|(name, _)| recipe(name)).collect()
}

/// The recipe of a name, or of a file.
pub fn recipe(named: &str) -> Result<Recipe, CloudError> {
    if named.ends_with(".yaml") {
        return Ok(Recipe::load(Path::new(named)).map_err(Box::new)?);
    }
    let known = RECIPES.iter().find(|(name, _)| *name == named);
    let (name, text) = known.ok_or_else(|| CloudError::Unknown { name: named.to_owned() })?;
    Ok(Recipe::parse(&format!("images/{name}.yaml"), text).map_err(Box::new)?)
}

/// Where a recipe says that the disk is.
pub fn published(recipe: &Recipe) -> Published {
    let signed = recipe.signature.as_ref().map(|signature| Signed {
        url: signature.url.clone(),
        image: signature.signs == Signs::Image,
        keyring: signature.keyring.clone(),
    });
    Published {
        name: recipe.name.clone(),
        url: recipe.url.clone(),
        sums: recipe.sums.clone(),
        signed,
        sha256: recipe.sha256.clone(),
    }
}

/// The disk that a scenario names: a file, or one that has been fetched.
pub(crate) fn image(store: &Store, disk: &Disk) -> Result<CloudImage, CloudError> {
    let named = match disk {
        Disk::File(path) => return Ok(CloudImage::open(Path::new(path))?),
        Disk::Recipe(named) => named,
    };
    let recipe = recipe(named)?;
    Shelf::of(store).find(&recipe.name)?.ok_or_else(|| CloudError::Absent {
        name: recipe.name,
        url: recipe.url,
        file: named.clone(),
    })
}

/// What cloud-init is told in a machine.
pub(crate) fn told(path: Option<&str>, role: Option<Role>) -> Result<String, CloudError> {
    let Some(path) = path.map(PathBuf::from) else {
        return Ok(role.unwrap_or(Role::Peer).cloud_init().to_owned());
    };
    let read = match path.metadata() {
        Ok(there) if there.len() > MOST_TOLD => {
            Err(std::io::Error::other(format!("it has more than {} KiB", MOST_TOLD >> 10)))
        }
        _ => fs::read_to_string(&path),
    };
    read.map_err(|error| CloudError::Told { path, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_that_come_with_natrig_are_read() {
        for recipe in recipes().unwrap() {
            assert!(recipe.url.starts_with("https://"), "{}", recipe.name);
            assert_eq!(
                recipe.sha256, None,
                "{}: nobody here has seen it, so that no hash is known",
                recipe.name
            );
        }
        assert!(recipe("debian-99").unwrap_err().to_string().contains("debian-12"));
    }

    #[test]
    fn what_machines_are_told_is_for_cloud_init() {
        for role in [Role::Gateway, Role::Peer, Role::Relay] {
            assert!(told(None, Some(role)).unwrap().starts_with("#cloud-config\n"), "{role:?}");
        }
        let error = told(Some("none.yaml"), None).unwrap_err().to_string();
        assert!(error.contains("none.yaml"), "{error}");
    }
}
