//! What the disk of an app and the guest that mounts it must agree on.

/// Folders of the guest that are mounted in the app's file system; the disk has the places.
pub const MOUNTED: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Where the guest lends its busybox, if no package brings one: the place is an empty file then.
pub const BUSYBOX: &str = "usr/bin/busybox";
