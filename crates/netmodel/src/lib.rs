//! Seeded, sans-IO link conditions.
