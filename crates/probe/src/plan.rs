//! What to measure, and what the driver has to do for it.

use std::net::{IpAddr, SocketAddr};

use natrig_nat::profile::Timers;
use serde::{Deserialize, Serialize};

/// Names a socket of the prober.
pub type SocketId = u16;

/// How many ports the prober may bind on each inside host, from that of [`Plan::inside`] on; no others are bound but, for
/// [`Steps::Whole`], up to four in the range that the gateway draws ports from.
pub const PORTS: u16 = 96;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steps {
    /// Mapping, filtering, early packet.
    #[default]
    Fast,
    /// Those, two hosts on one port, port allocation, pooling, hairpin, ICMP errors, unsolicited input.
    ///
    /// It takes up to 60 mappings for the first host and 30 for the second; a gateway with room for fewer is not
    /// measured, and the prober fails with [`Silent`](crate::Failed::Silent).
    Whole,
}

/// What to measure, and against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The server's primary address and port.
    pub server: SocketAddr,
    /// Its other address and port.
    pub other: SocketAddr,
    /// The inside host's address, and the first of its [`PORTS`]. Even, so that parity can be told.
    pub inside: SocketAddr,
    /// Another inside address, with the same ports, for what two hosts are needed for.
    #[serde(default)]
    pub second: Option<IpAddr>,
    /// How much to measure.
    #[serde(default)]
    pub steps: Steps,
    /// A UDP port outside where nobody listens, of a host that says so with ICMP; without it, whether errors come through
    /// is not measured.
    #[serde(default)]
    pub closed: Option<SocketAddr>,
    /// The times to hold the gateway's against; with them the end of flows is measured too, which takes somewhat longer
    /// than the longest of them; what lasts more than a day is not waited for.
    #[serde(default)]
    pub timers: Option<Timers>,
    /// Whether the driver calls [`Prober::handle_refusal`](crate::Prober::handle_refusal).
    #[serde(default)]
    pub eyes: bool,
    /// Makes transactions unlike those of other probers, and draws what is drawn.
    pub seed: u64,
}

impl Plan {
    /// The fast steps.
    pub fn fast(server: SocketAddr, other: SocketAddr, inside: SocketAddr, seed: u64) -> Self {
        Plan {
            server,
            other,
            inside,
            second: None,
            steps: Steps::Fast,
            closed: None,
            timers: None,
            eyes: false,
            seed,
        }
    }
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bind a UDP socket.
    Bind {
        /// What the socket is called from now on: 0, 1, 2 and so on.
        socket: SocketId,
        /// Its endpoint, on one of the plan's inside hosts.
        local: SocketAddr,
    },
    /// Send a datagram.
    Send {
        /// From this socket.
        socket: SocketId,
        /// To this address.
        to: SocketAddr,
        /// These bytes.
        datagram: Vec<u8>,
    },
}
