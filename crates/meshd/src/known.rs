//! Nodes known from earlier runs, one `ID@IP:PORT` a line.

use std::fs;
use std::io;
use std::path::Path;

use omerta_mesh_core::Bootstrap;

use crate::home::replace;

/// As many are kept.
pub const MAX_KNOWN: usize = 32;
/// Longer files are written by nobody.
const MAX_FILE: u64 = 64 << 10;

/// The nodes in the file. What cannot be read is left out: it is only a help.
pub fn load(path: &Path) -> Vec<Bootstrap> {
    let length = fs::metadata(path).map_or(0, |file| file.len());
    if length > MAX_FILE {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).take(MAX_KNOWN).collect()
}

/// Writes the file anew.
pub fn save(path: &Path, nodes: &[Bootstrap]) -> io::Result<()> {
    let text: String = nodes.iter().take(MAX_KNOWN).map(|node| format!("{node}\n")).collect();
    replace(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_readable_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("known");
        assert_eq!(load(&path), []);
        let nodes: Vec<Bootstrap> = (0..40)
            .map(|n| format!("{}@10.0.0.{n}:4400", "ab".repeat(32)).parse().expect("a node"))
            .collect();
        save(&path, &nodes).expect("written");
        assert_eq!(load(&path), nodes[..MAX_KNOWN]);
        fs::write(&path, format!("rubbish\n{}\n\u{0}", nodes[3])).expect("written");
        assert_eq!(load(&path), nodes[3..4]);
    }
}
