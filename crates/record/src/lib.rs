//! Events, outcomes and results: all that passes between the lab and what shows it.
