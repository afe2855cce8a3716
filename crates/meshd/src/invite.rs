//! Invitations: a link with all that a node needs to find a mesh.
//!
//! ```text
//! omerta:?key=NETWORK-KEY&node=ID@IP:PORT&node=ID@IP:PORT&stun=IP:PORT&sum=CHECKSUM
//! ```
//!
//! Only the nodes and the checksum must be there. Who has the link of a private network can join it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use omerta_mesh_core::{Bootstrap, NetworkKey};

const SCHEME: &str = "omerta:?";
const SUM: &str = "&sum=";
/// Longer links are made by nobody.
const MAX_LINK: usize = 16 << 10;
const MAX_ENTRIES: usize = 64;

/// What an invitation says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invite {
    /// The key of the network, if it is a private one.
    pub network: Option<NetworkKey>,
    /// Public nodes to begin with; at least one.
    pub bootstrap: Vec<Bootstrap>,
    /// STUN servers.
    pub stun: Vec<SocketAddr>,
}

/// A text that is no invitation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInvite {
    /// Something else.
    #[error("an invitation begins with {SCHEME:?}")]
    Scheme,
    /// Longer than any.
    #[error("an invitation has at most {MAX_LINK} characters and {MAX_ENTRIES} entries")]
    Long,
    /// The checksum is wrong or missing.
    #[error(
        "the link is not whole: it was cut or changed on its way; copy all of it, from \"omerta:\" to the end"
    )]
    Damaged,
    /// An entry that no version so far knows, or that says nothing.
    #[error("the link has an entry {0:?}, which this version does not know")]
    Unknown(String),
    /// An entry that cannot be read.
    #[error("the link's {what} {value:?} is not right: {why}")]
    Entry {
        /// Which.
        what: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody to begin with.
    #[error("the link names no node to begin with")]
    Nobody,
}

impl FromStr for Invite {
    type Err = InvalidInvite;

    fn from_str(link: &str) -> Result<Self, InvalidInvite> {
        let link = link.trim();
        if !link.starts_with(SCHEME) {
            return Err(InvalidInvite::Scheme);
        }
        if link.len() > MAX_LINK {
            return Err(InvalidInvite::Long);
        }
        let (text, sum) = link.rsplit_once(SUM).ok_or(InvalidInvite::Damaged)?;
        if sum != checksum(text) {
            return Err(InvalidInvite::Damaged);
        }
        let mut invite = Self::default();
        for (count, entry) in text[SCHEME.len()..].split('&').enumerate() {
            if count >= MAX_ENTRIES {
                return Err(InvalidInvite::Long);
            }
            invite.take(entry)?;
        }
        if invite.bootstrap.is_empty() {
            return Err(InvalidInvite::Nobody);
        }
        Ok(invite)
    }
}

impl Invite {
    fn take(&mut self, entry: &str) -> Result<(), InvalidInvite> {
        let (what, value) = entry.split_once('=').unwrap_or((entry, ""));
        match what {
            "key" => self.network = Some(read("network key", "...", value.parse())?),
            "node" => {
                let shown = value;
                let (id, address) = value.split_once('@').ok_or_else(|| InvalidInvite::Entry {
                    what: "node",
                    value: value.to_owned(),
                    why: "a node is ID@IP:PORT".to_owned(),
                })?;
                self.bootstrap.push(Bootstrap {
                    id: read("node", shown, id.parse())?,
                    address: read("node", shown, address.parse())?,
                });
            }
            "stun" => self.stun.push(read("STUN server", value, value.parse())?),
            _ => return Err(InvalidInvite::Unknown(entry.to_owned())),
        }
        Ok(())
    }
}

fn read<T, E: ToString>(what: &'static str, shown: &str, parsed: Result<T, E>) -> Result<T, InvalidInvite> {
    parsed.map_err(|error| InvalidInvite::Entry { what, value: shown.to_owned(), why: error.to_string() })
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = Vec::new();
        if let Some(key) = &self.network {
            let key: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            entries.push(format!("key={key}"));
        }
        entries.extend(self.bootstrap.iter().map(|node| format!("node={}@{}", node.id, node.address)));
        entries.extend(self.stun.iter().map(|server| format!("stun={server}")));
        let text = format!("{SCHEME}{}", entries.join("&"));
        write!(f, "{text}{SUM}{}", checksum(&text))
    }
}

/// Enough to see that a link is not whole; it protects from nobody.
fn checksum(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes());
    hash.to_hex().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn invite(key: Option<[u8; 32]>, nodes: &[([u8; 32], SocketAddr)], stun: &[SocketAddr]) -> Invite {
        let node = |(id, address): &([u8; 32], SocketAddr)| Bootstrap {
            id: omerta_mesh_core::PeerId::from_bytes(*id),
            address: *address,
        };
        Invite {
            network: key.map(NetworkKey::from_bytes),
            bootstrap: nodes.iter().map(node).collect(),
            stun: stun.to_vec(),
        }
    }

    fn with_sum(text: &str) -> String {
        format!("{text}{SUM}{}", checksum(text))
    }

    #[test]
    fn what_is_wrong_with_a_link_is_said() {
        let link =
            invite(Some([7; 32]), &[([9; 32], "10.0.0.1:4400".parse().expect("address"))], &[]).to_string();
        assert!(link.starts_with("omerta:?key=0707"), "{link}");
        let wrong = |link: &str| link.parse::<Invite>().expect_err("wrong").to_string();
        assert!(wrong("https://example.org").contains("begins with"));
        assert!(wrong(&link[..link.len() - 1]).contains("not whole"));
        assert!(wrong(&link.replace("0909", "0908")).contains("not whole"));
        assert!(wrong(&with_sum("omerta:?key=12")).contains("64 hexadecimal digits"));
        assert!(!wrong(&with_sum("omerta:?key=12")).contains("\"12\""), "a key is not shown");
        assert!(wrong(&with_sum("omerta:?node=ab")).contains("ID@IP:PORT"));
        assert!(wrong(&with_sum("omerta:?node=ab@1.2.3.4:5")).contains("64 hexadecimal"));
        assert!(wrong(&with_sum("omerta:?dance=1")).contains("dance"));
        assert!(wrong(&with_sum("omerta:?stun=1.2.3.4:5")).contains("no node"));
        assert_eq!(format!(" {link}\n").parse::<Invite>().expect("right").to_string(), link);
    }

    proptest! {
        #[test]
        fn a_link_reads_back(
            key in any::<Option<[u8; 32]>>(),
            nodes in proptest::collection::vec((any::<[u8; 32]>(), any::<SocketAddr>()), 1..5),
            stun in proptest::collection::vec(any::<SocketAddr>(), 0..4),
        ) {
            let plain = |mut address: SocketAddr| {
                if let SocketAddr::V6(v6) = &mut address {
                    v6.set_flowinfo(0);
                    v6.set_scope_id(0);
                }
                address
            };
            let nodes: Vec<_> = nodes.into_iter().map(|(id, address)| (id, plain(address))).collect();
            let stun: Vec<_> = stun.into_iter().map(plain).collect();
            let invite = invite(key, &nodes, &stun);
            prop_assert_eq!(invite.to_string().parse(), Ok(invite));
        }
    }

    #[test]
    fn arbitrary_links_never_panic() {
        bolero::check!().with_type::<(bool, Vec<u8>)>().for_each(|(whole, bytes)| {
            let text = format!("{SCHEME}{}", String::from_utf8_lossy(bytes));
            // Whether it is one is chance; that reading ends is what counts.
            let _ = if *whole { with_sum(&text) } else { text }.parse::<Invite>();
        });
    }
}
