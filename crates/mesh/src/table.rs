//! Tables that are looked up and never gone through: their order says nothing and is another on another machine.

use foldhash::fast::FixedState;

/// A table whose hashes come from the node's seed, so that nobody can choose keys that collide.
pub(crate) type Table<K, V> = hashbrown::HashMap<K, V, FixedState>;
