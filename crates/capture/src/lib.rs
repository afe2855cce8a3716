//! pcapng reading and writing, and the decoding of captured flows.
