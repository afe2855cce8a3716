//! What a correct gateway does by chance.

/// A correct gateway is blamed less often than once in this many times.
const ONCE_IN: f64 = 50_000.0;

/// How often an event may be seen that is expected so many times by chance: were it seen more often, chance would not
/// explain it.
pub(super) fn tolerated(expected: f64) -> usize {
    // The number of rare and nearly independent events is Poisson's.
    let mut term = (-expected).exp();
    let mut at_most = term;
    let mut count = 0;
    while 1.0 - at_most > 1.0 / ONCE_IN {
        count += 1;
        term *= expected / count as f64;
        at_most += term;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_draw_may_not_hit_and_many_may_once() {
        let port = 1.0 / 64_512.0;
        assert_eq!(tolerated(0.0), 0);
        assert_eq!(tolerated(port), 0);
        assert_eq!(tolerated(6.0 * port), 1);
        // 256 sockets: half a pair shares a port.
        assert_eq!(tolerated(256.0 * 255.0 / 2.0 * port), 5);
    }
}
