//! The same gateway after it has lost its state and gives other ports.

use super::{Allocation, PortRange, Profile};

/// A port that hosts choose themselves is kept if it lies in the range. In the last sixteenth none does: ephemeral ports
/// end below it on all systems but those that take them from everywhere.
const PRESERVED: u32 = 16;

impl Profile {
    /// What this gateway is after its `turn`-th rebind, counted from 1: the same in another port range.
    ///
    /// A flush alone is no rebind, since a gateway that preserves ports would give the same ones again. To rebind a
    /// kernel, compile this profile, load its rules, and flush conntrack; maps and sets are empty then. Ports of two turns
    /// that follow each other are never the same. A port of the first turn may be one from before it only where it was
    /// drawn: by chance, or because a preserved port lay in the last sixteenth of the range.
    ///
    /// Ports that were always preserved are drawn then, which the kernel does not do with a parity.
    ///
    /// Without NAT nothing is bound and nothing changes; a range of one port has no other. [`Engine`](crate::Engine) has a
    /// [`rebind`](crate::Engine::rebind) of its own.
    pub fn rebound(&self, turn: u32) -> Profile {
        let mut profile = self.clone();
        let ports = &mut profile.ports;
        if self.mapping.is_none() {
            return profile;
        }
        let preserving =
            matches!(ports.allocation, Allocation::Preserving | Allocation::PreservingUntilCollision);
        let block = ports.block.map_or(1, |block| u32::from(block.size));
        let step = match ports.allocation {
            Allocation::Sequential { delta } => u32::from(delta) + 1,
            _ => 1 + u32::from(ports.parity),
        };
        let least = block.max(step);
        let count = ports.range.count();
        let part = if preserving { (count / PRESERVED / 2).max(least) } else { (count / 2).max(least) };
        if count < 2 * part {
            return profile;
        }
        // The last part at first, the one before it at the next turn.
        let end = u32::from(ports.range.last()) - part * u32::from(turn.is_multiple_of(2));
        let range = u16::try_from(end + 1 - part).ok().zip(u16::try_from(end).ok());
        if let Some(Ok(range)) = range.map(|(first, last)| PortRange::new(first, last)) {
            ports.range = range;
        }
        if ports.allocation == Allocation::Preserving {
            ports.allocation = Allocation::PreservingUntilCollision;
        }
        profile
    }
}
