//! A user-space Ethernet switch on Unix sockets.
