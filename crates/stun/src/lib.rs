//! STUN messages (RFC 8489) and behaviour discovery attributes (RFC 5780), sans-IO.
