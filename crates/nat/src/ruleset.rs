//! nftables rulesets.
