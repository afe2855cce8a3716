//! What a step is going to touch, told before it.
//!
//! A driver with thousands of nodes has none of them in a cache. One structure leads to the next, so a step would wait for
//! memory as often as there are structures on its way. The driver can have what lies ahead of several nodes' steps fetched side
//! by side instead.

/// Is told where something lies and how long it is. It may lie anywhere: who is told must not read it.
pub(crate) type Fetch<'a> = &'a mut dyn FnMut(*const u8, usize);

pub(crate) fn fetch_value<T>(value: &T, fetch: Fetch<'_>) {
    fetch(std::ptr::from_ref(value).cast(), size_of::<T>());
}

pub(crate) fn fetch_slice<T>(values: &[T], fetch: Fetch<'_>) {
    fetch(values.as_ptr().cast(), size_of_val(values));
}
