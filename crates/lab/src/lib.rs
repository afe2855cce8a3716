//! What a run of a scenario is, and its verdict from the wire.
