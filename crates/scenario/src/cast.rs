//! Reads who is there beside the pair.

use crate::{
    Mistake, Site,
    fields::{self, Fields, Mistakes},
    yaml::Node,
};

/// Reads `peers:`, how many there are in the LAN of each site: one, where nothing is said.
pub(crate) fn peers(node: &Node, sites: usize, mistakes: &mut Mistakes) -> Option<Vec<usize>> {
    let lans: Vec<String> =
        Site::all().take(sites.max(1)).map(|site| format!("lan{}", site.number())).collect();
    let names: Vec<&str> = lans.iter().map(String::as_str).collect();
    let fields = Fields::open(node, "`peers`", &names, mistakes)?;
    let mut peers = Vec::new();
    for lan in names {
        peers.push(match fields.find(lan) {
            Some(node) => {
                let most = Site::MOST_PEERS;
                let told = format!("a LAN has 1 to {most} peers");
                fields::count(node, "how many peers a LAN has", &told, most, mistakes)?
            }
            None => 1,
        });
    }
    if sites == 1 && peers == [1] {
        return mistakes.add(
            Mistake::new(fields.at(), "there is one peer, and nobody to connect to")
                .hint("`peers: {lan1: 2}`, or a second site: `nat2: full-cone`"),
        );
    }
    Some(peers)
}
