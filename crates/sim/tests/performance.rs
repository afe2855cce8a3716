//! The plan's targets for latency and bulk (T5.1, T1.1.3), over links with declared delays. `scripts/bench plan` prints the
//! figures.

mod estate;
mod pace;
mod village;

use pace::Times;

/// At least 1,000 messages, with a median and a 99th of a hundred below these.
#[track_caller]
fn assert_below(times: Times, [p50, p99]: [f64; 2]) {
    assert!(times.messages.len() >= 1000);
    let actual = Times::percentiles(times.messages);
    assert!(actual[0] < p50 && actual[1] < p99, "{actual:?} ms");
}

#[test]
fn t1_1_3_bulk_in_a_lan_is_faster_than_100_mbit_a_second() {
    let rate = pace::bulk();
    assert!(rate > 100.0 && rate < 1000.0, "{rate} Mbit/s");
}

#[test]
fn t5_1_1_messages_in_a_lan() {
    assert_below(pace::lan(), [5.0, 20.0]);
}

#[test]
fn t5_1_2_direct_messages_in_a_region() {
    assert_below(pace::direct_in_region(), [30.0, 100.0]);
}

#[test]
fn t5_1_3_relayed_messages_in_a_region() {
    assert_below(pace::relay_in_region(), [50.0, 150.0]);
}

#[test]
fn t5_1_4_relayed_messages_across_an_ocean() {
    assert_below(pace::relay_across("north-america"), [100.0, 300.0]);
}

#[test]
fn t5_1_5_messages_over_three_links() {
    assert_below(pace::three_hops(), [100.0, 300.0]);
}
