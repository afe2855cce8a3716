//! Memory that is going to be needed.

use hashbrown::HashMap;

/// The length of a processor's lines of memory, or a part of it.
const LINE: usize = 64;

/// Has a value fetched into the processor's cache, without waiting for it.
pub(crate) fn fetch<T: ?Sized>(value: &T) {
    fetch_bytes(std::ptr::from_ref(value).cast(), size_of_val(value));
}

/// Has a small table fetched.
pub(crate) fn fetch_table<K, V, S>(table: &HashMap<K, V, S>) {
    #[allow(clippy::disallowed_methods, reason = "which entry comes first decides only what is fetched")]
    let first = table.keys().next();
    first.into_iter().for_each(fetch);
}

/// Has so many bytes fetched from there, wherever that is.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fetch_bytes(start: *const u8, length: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let length = start.addr() % LINE + length;
    for at in (0..length).step_by(LINE) {
        // SAFETY: every x86-64 has SSE, and whatever the address is, a prefetch neither faults nor changes a value.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at).cast()) };
    }
}

/// Has so many bytes fetched from there, wherever that is.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fetch_bytes(_: *const u8, _: usize) {}
