//! A lab that is kept up leaves its machines to another one.

use std::sync::PoisonError;

use super::Live;

impl Live {
    /// Ends it. Its captures are whole then, and its machines serve the next lab of its rig that they fit, if they can be shown to
    /// be clean. That is for one to whose machines nothing was done but what [passes](crate::passes).
    pub fn leave(self) {
        self.halt.raise();
        let Live { rig, folder, held, .. } = self;
        let held = held.into_inner().unwrap_or_else(PoisonError::into_inner);
        match held.lab.retire(&folder) {
            Ok(()) => rig.take_back(held.lab),
            Err(trouble) => tracing::info!("machines are not used again: {trouble}"),
        }
    }
}
