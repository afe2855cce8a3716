//! Congestion control that does not count what was under way on a path that has been left.
//!
//! quinn-proto begins with a new controller when told that the path has changed ([RFC 9000, section 9.4]), and goes on counting
//! the bytes in flight of the old path against its window. Where many were under way on a path that died, nothing fits the new
//! window, not even an acknowledgement if there is data to go with it: two sides that both were sending then wait for each
//! other until their probe timeouts, which have doubled all the while that nothing came through.
//!
//! [RFC 9000, section 9.4]: https://www.rfc-editor.org/rfc/rfc9000#section-9.4

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, CubicConfig};

/// Makes the controllers of one connection, path by path.
#[derive(Default)]
pub(super) struct PathByPath {
    cubic: Arc<CubicConfig>,
    /// Bytes in flight on all paths.
    in_flight: Arc<AtomicU64>,
}

impl ControllerFactory for PathByPath {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(OnePath {
            inner: self.cubic.clone().build(now, current_mtu),
            since: now,
            left: self.in_flight.load(Ordering::Relaxed),
            in_flight: self.in_flight.clone(),
        })
    }
}

struct OnePath {
    inner: Box<dyn Controller>,
    since: Instant,
    /// Bytes in flight that were sent before this path.
    left: u64,
    in_flight: Arc<AtomicU64>,
}

impl OnePath {
    /// Bytes that were sent then are in flight no more. Whether that was before this path.
    fn landed(&mut self, sent: Instant, bytes: u64) -> bool {
        let known = self.in_flight.load(Ordering::Relaxed);
        self.in_flight.store(known.saturating_sub(bytes), Ordering::Relaxed);
        let is_before = self.left > 0 && sent < self.since;
        if is_before {
            self.left = self.left.saturating_sub(bytes);
        }
        is_before
    }
}

impl Controller for OnePath {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        if !self.landed(sent, bytes) {
            self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.left = self.left.min(in_flight);
        self.inner.on_end_acks(now, in_flight - self.left, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        // What was lost on the old path says nothing of this one.
        if !self.landed(sent, lost_bytes) {
            self.inner.on_congestion_event(now, sent, is_persistent, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window() + self.left
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(OnePath {
            inner: self.inner.clone_box(),
            since: self.since,
            left: self.left,
            in_flight: self.in_flight.clone(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_under_way_on_the_old_path_takes_no_room_on_the_new_one() {
        let now = Instant::now();
        let factory = Arc::new(PathByPath::default());
        let mut old = factory.clone().build(now, 1200);
        let initial = old.window();
        old.on_sent(now, 9_000, 1);
        let later = now + Duration::from_secs(1);
        let mut new = factory.clone().build(later, 1200);
        assert_eq!(new.window(), initial + 9_000);
        // Some of it is lost after all, which is no congestion of the new path; the rest is known to have arrived.
        new.on_congestion_event(later, now, true, 4_000);
        assert_eq!(new.window(), initial + 5_000);
        new.on_end_acks(later, 2_000, false, None);
        assert_eq!(new.window(), initial + 2_000);
        new.on_end_acks(later, 0, false, None);
        new.on_sent(later, 1_200, 2);
        new.on_congestion_event(later, later, false, 1_200);
        assert!(new.window() < initial);
    }
}
