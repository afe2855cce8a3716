//! How many machines may run on a host at once, and how many labs may be set up.

use std::time::{Duration, Instant};

use crate::{Error, Result, Store, store::Lock};

/// Memory that a machine may come to use, in megabytes; it is less than the guest's size.
const MACHINE_MB: u64 = 160;

/// Memory left to everything else, in megabytes.
const RESERVE_MB: u64 = 1024;

/// More emulated machines than this per core are too slow for their protocols' timers.
const MACHINES_PER_CORE: usize = 12;

/// Leave to run a number of machines, given back when dropped and when the process ends, however that happens.
#[derive(Debug)]
pub struct Slots {
    locks: Vec<Lock>,
}

impl Slots {
    /// How many machines may run on this host at once: from its memory and cores, or `$NATRIG_SLOTS`.
    pub fn of_host() -> Result<usize> {
        if let Ok(value) = std::env::var("NATRIG_SLOTS") {
            return match value.parse() {
                Ok(count @ 1..=10_000) => Ok(count),
                _ => {
                    Err(Error::Setting { name: "NATRIG_SLOTS", value, expected: "a number from 1 to 10000" })
                }
            };
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_mb = rustix::system::sysinfo();
        let memory_mb = (memory_mb.totalram as u64 * u64::from(memory_mb.mem_unit)) >> 20;
        Ok(slots(memory_mb, cores))
    }

    /// Waits until `count` more machines may run. Whoever asked first gets them first.
    pub fn acquire(store: &Store, count: usize, within: Duration) -> Result<Self> {
        Self::acquire_of(store, count, Self::of_host()?, within)
    }

    fn acquire_of(store: &Store, count: usize, all: usize, within: Duration) -> Result<Self> {
        if count > all {
            return Err(Error::Shape(format!(
                "{count} machines, where this host has room for {all} at once\nhint: NATRIG_SLOTS={count} allows them all the same"
            )));
        }
        let locks = collect(store, "slot", count, all, within)?.ok_or_else(|| Error::Timeout {
            what: format!("waiting until {count} more machines may run (of {all} on this host)"),
            seconds: within.as_secs(),
        })?;
        Ok(Self { locks })
    }

    /// For how many machines.
    pub fn count(&self) -> usize {
        self.locks.len()
    }
}

/// Leave to set a lab up, given back when dropped and when the process ends.
///
/// Machines that boot, load rules and start programs take every core they can get, and those of other labs, whose protocols'
/// timers run, wait for it. So labs of a host take turns: one for each two cores is set up at once.
#[derive(Debug)]
pub struct Turn {
    _lock: Vec<Lock>,
}

impl Turn {
    /// Waits until another lab may be set up; none if that takes too long. Whoever asked first comes first.
    pub fn take(store: &Store, within: Duration) -> Result<Option<Self>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let turn = collect(store, "turn", 1, (cores / 2).max(1), within)?;
        Ok(turn.map(|lock| Turn { _lock: lock }))
    }
}

/// Takes so many of all locks of a kind; none if they are not free in time.
fn collect(
    store: &Store,
    kind: &str,
    count: usize,
    all: usize,
    within: Duration,
) -> Result<Option<Vec<Lock>>> {
    let deadline = Instant::now() + within;
    // One at a time collects, so that no two wait for what the other holds.
    let Some(_gate) = store.lock_until(&format!("{kind}s"), deadline)? else { return Ok(None) };
    let mut locks = Vec::with_capacity(count);
    let mut free: Vec<usize> = (0..all).collect();
    loop {
        let mut taken = Vec::new();
        for number in free {
            let lock = if locks.len() < count {
                store.lock_until(&format!("{kind}-{number}"), Instant::now())?
            } else {
                None
            };
            match lock {
                Some(lock) => locks.push(lock),
                None => taken.push(number),
            }
        }
        if locks.len() == count {
            return Ok(Some(locks));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        free = taken;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn slots(memory_mb: u64, cores: usize) -> usize {
    let by_memory = memory_mb.saturating_sub(RESERVE_MB) / MACHINE_MB;
    usize::try_from(by_memory)
        .unwrap_or(usize::MAX)
        .min(cores.saturating_mul(MACHINES_PER_CORE))
        // The seed's topology is for any host to try.
        .max(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn a_host_has_room_for_what_its_memory_and_cores_bear() {
        assert_eq!(slots(24_000, 2), 24);
        assert_eq!(slots(4_000, 4), 18);
        assert_eq!(slots(512, 1), 5);
    }

    #[test]
    fn slots_are_not_given_twice() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let take = |count, within| Slots::acquire_of(&store, count, 5, within);
        let three = take(3, AT_ONCE).unwrap();
        assert_eq!(three.count(), 3);
        assert!(matches!(take(3, AT_ONCE), Err(Error::Timeout { .. })));
        let two = take(2, AT_ONCE).unwrap();
        drop(three);
        let again = take(3, AT_ONCE).unwrap();
        assert!(matches!(take(6, AT_ONCE), Err(Error::Shape(_))));
        drop((two, again));
        assert_eq!(take(5, AT_ONCE).unwrap().count(), 5);
    }

    #[test]
    fn labs_are_set_up_one_after_the_other() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut turns: Vec<_> =
            (0..(cores / 2).max(1)).map(|_| Turn::take(&store, AT_ONCE).unwrap().unwrap()).collect();
        assert!(Turn::take(&store, AT_ONCE).unwrap().is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Turn::take(&store, Duration::from_secs(20)));
            turns.pop();
            assert!(waiting.join().unwrap().unwrap().is_some());
        });
    }

    #[test]
    fn who_waits_gets_the_slots_that_are_given_back() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let all = Slots::acquire_of(&store, 4, 4, AT_ONCE).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Slots::acquire_of(&store, 2, 4, Duration::from_secs(20)));
            drop(all);
            assert_eq!(waiting.join().unwrap().unwrap().count(), 2);
        });
    }
}
