//! What NAT is this: a sans-IO prober.
