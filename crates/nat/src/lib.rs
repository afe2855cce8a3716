//! RFC 4787 vocabulary, gateway profiles, and their nftables rulesets.
