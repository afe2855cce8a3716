//! What happens to a gateway in its life.

use std::{net::Ipv4Addr, time::Duration};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Addresses, Engine, Nanos, WrongGateway, fits, ports::Endpoints, table::Table};
use crate::{Filtering, Profile};

impl Engine {
    /// Loses all state and gives other endpoints from now on: none that is given again is the one it was before.
    pub fn rebind(&mut self, now: Duration) {
        self.advance(now);
        let mut before = HashMap::with_hasher(FixedState::with_seed(self.seed));
        before.extend(self.table.mappings.iter().map(|(_, mapping)| (mapping.inside_key(), mapping.outside)));
        self.forget();
        self.before = before;
        self.endpoints.settle_for_others();
    }

    /// Loses all state, as in a restart.
    pub fn reboot(&mut self, now: Duration) {
        self.advance(now);
        self.forget();
    }

    /// Gets other outside addresses, as from a new lease; the state of the old ones is lost.
    pub fn renumber(&mut self, now: Duration, outside: Vec<Ipv4Addr>) -> Result<(), WrongGateway> {
        let addresses = Addresses { outside, inside: self.addresses.inside };
        fits(&self.profile, &addresses)?;
        self.advance(now);
        self.addresses = addresses;
        self.forget();
        Ok(())
    }

    /// Behaves otherwise from now on; all state is lost.
    pub fn reconfigure(&mut self, now: Duration, profile: Profile) -> Result<(), WrongGateway> {
        profile.validate()?;
        fits(&profile, &self.addresses)?;
        self.advance(now);
        self.timers = Nanos::of(&profile);
        self.profile = profile;
        self.forget();
        Ok(())
    }

    /// Takes no more flows than there are, as if others that nobody sees had all the rest of the table.
    pub fn close(&mut self, now: Duration) {
        self.ceiling = self.flows(now);
    }

    fn forget(&mut self) {
        // Another life draws other ports, and is as determined by the seed.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.table = Table::new(self.profile.filtering == Filtering::AddressDependent, self.seed);
        self.endpoints = Endpoints::new(&self.profile, &self.addresses.outside, self.seed);
        self.poisoned.clear();
        self.held.clear();
        self.before.clear();
        self.ceiling = usize::MAX;
    }
}
