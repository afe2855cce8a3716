//! Commands on standard input, one JSON object a line.

use std::path::PathBuf;

use omerta_mesh_core::PeerId;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum Line {
    Connect { peer: String },
    Send { peer: String, file: PathBuf },
    Quit,
}

/// A command to the node.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Connect to a peer.
    Connect(PeerId),
    /// Send a file's content to a peer.
    Send(PeerId, PathBuf),
    /// End.
    Quit,
}

/// Reads a line; the error says what is wrong with it.
pub fn parse(line: &str) -> Result<Command, String> {
    let peer = |text: String| text.parse().map_err(|error| format!("{error}"));
    match serde_json::from_str(line).map_err(|error| format!("not a command: {error}"))? {
        Line::Connect { peer: text } => Ok(Command::Connect(peer(text)?)),
        Line::Send { peer: text, file } => Ok(Command::Send(peer(text)?, file)),
        Line::Quit => Ok(Command::Quit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_commands_are_understood_and_nothing_else() {
        let id = "0a".repeat(32);
        let peer: PeerId = id.parse().expect("an ID");
        assert_eq!(parse(&format!(r#"{{"do":"connect","peer":"{id}"}}"#)), Ok(Command::Connect(peer)));
        assert_eq!(
            parse(&format!(r#"{{"do":"send","peer":"{id}","file":"/x"}}"#)),
            Ok(Command::Send(peer, "/x".into()))
        );
        assert_eq!(parse(r#"{"do":"quit"}"#), Ok(Command::Quit));
        for wrong in ["", "{}", r#"{"do":"dance"}"#, r#"{"do":"connect","peer":"12"}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
