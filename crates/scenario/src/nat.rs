//! What stands between a site and the internet.

use std::fmt;

use natrig_nat::{Filtering, Mapping, Preset, Profile, profile::Named};

/// The gateways of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// What it is called.
    pub name: String,
    /// The gateways that a packet passes on its way out, in this order; at least one, and more than one in a chain.
    pub gateways: Vec<Gateway>,
}

/// One gateway: what it does, and what does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// How it behaves.
    pub profile: Profile,
    /// What makes it behave so.
    pub engine: Engine,
    /// Whether the scenario itself says what makes it so; otherwise whoever runs it may do it in another way.
    pub fixed: bool,
}

/// What makes a machine a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Engine {
    /// The nftables of its kernel.
    Kernel,
    /// The NAT of `natrig-nat`, as a process between its interfaces.
    Model,
}

impl Nat {
    /// The gateways of a profile that has a name; each is the kernel's where it can be.
    pub fn of(named: &Named) -> Self {
        let gateways = named.chain.iter().cloned().map(Gateway::auto).collect();
        Nat { name: named.name.clone(), gateways }
    }

    /// The one of the five that it is, whatever its engine.
    pub fn preset(&self) -> Option<Preset> {
        let [gateway] = self.gateways.as_slice() else { return None };
        Preset::ALL.into_iter().find(|preset| {
            // A name changes nothing.
            Profile { name: preset.name().to_owned(), ..gateway.profile.clone() } == Profile::of(*preset)
        })
    }

    /// How all gateways together map for who is outside: the worst mapping; none without NAT.
    pub fn mapping(&self) -> Option<Mapping> {
        self.gateways.iter().filter_map(|gateway| gateway.profile.mapping).max()
    }

    /// Whom all gateways together let in: the strictest filter.
    pub fn filtering(&self) -> Filtering {
        let strictest = self.gateways.iter().map(|gateway| gateway.profile.filtering).max();
        strictest.unwrap_or(Filtering::EndpointIndependent)
    }
}

impl Nat {
    /// What the gateways are together for who is outside them: the outermost one, with the worst mapping and the strictest
    /// filter of all.
    pub fn composed(&self) -> Profile {
        let outermost = self.gateways.last().map_or_else(Profile::default, |gateway| gateway.profile.clone());
        Profile { name: self.name.clone(), mapping: self.mapping(), filtering: self.filtering(), ..outermost }
    }
}

impl Gateway {
    /// A gateway of the kernel, where stock nftables reaches its profile, and of the model otherwise.
    pub fn auto(profile: Profile) -> Self {
        let engine = if profile.kernel_can().is_ok() { Engine::Kernel } else { Engine::Model };
        Gateway { profile, engine, fixed: false }
    }
}

impl From<Preset> for Nat {
    fn from(preset: Preset) -> Self {
        let gateway = Gateway { profile: Profile::of(preset), engine: Engine::Kernel, fixed: false };
        Nat { name: preset.name().to_owned(), gateways: vec![gateway] }
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl Engine {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Kernel => "kernel",
            Engine::Model => "model",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_known_by_what_it_does() {
        for preset in Preset::ALL {
            let mut nat = Nat::from(preset);
            nat.gateways[0].profile.name = "mine".to_owned();
            nat.gateways[0].engine = Engine::Model;
            assert_eq!(nat.preset(), Some(preset));
            assert_eq!((nat.mapping(), nat.filtering()), (preset.mapping(), preset.filtering()));
        }
        let chain = Nat::of(&Named::find("cgn").unwrap());
        assert_eq!((chain.preset(), chain.gateways.len()), (None, 2));
        assert_eq!(chain.filtering(), Filtering::AddressAndPortDependent);
    }
}
