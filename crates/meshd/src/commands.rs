//! Commands on standard input, one JSON object a line.

use std::path::PathBuf;

use omerta_mesh_core::PeerId;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum Line {
    Connect { peer: String },
    Send { peer: String, file: Option<PathBuf>, text: Option<String>, tag: Option<u64> },
    Find { peer: String },
    WhoHasRecent { peer: String },
    Broadcast { text: String },
    Quit,
}

/// A command to the node.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Connect to a peer.
    Connect(PeerId),
    /// Send something to a peer; what tells of it bears the tag.
    Send(PeerId, Content, Option<u64>),
    /// Look a peer up.
    Find(PeerId),
    /// Ask neighbours who has heard of a peer lately.
    WhoHasRecent(PeerId),
    /// Tell all members.
    Broadcast(String),
    /// End.
    Quit,
}

/// What is sent.
#[derive(Debug, PartialEq)]
pub enum Content {
    /// What a file holds.
    File(PathBuf),
    /// A text.
    Text(String),
}

/// Reads a line; the error says what is wrong with it.
pub fn parse(line: &str) -> Result<Command, String> {
    let peer = |text: String| text.parse().map_err(|error| format!("{error}"));
    match serde_json::from_str(line).map_err(|error| format!("not a command: {error}"))? {
        Line::Connect { peer: text } => Ok(Command::Connect(peer(text)?)),
        Line::Send { peer: to, file, text, tag } => {
            let content = match (file, text) {
                (Some(file), None) => Content::File(file),
                (None, Some(text)) => Content::Text(text),
                _ => return Err("what is sent is a file or a text".to_owned()),
            };
            Ok(Command::Send(peer(to)?, content, tag))
        }
        Line::Find { peer: text } => Ok(Command::Find(peer(text)?)),
        Line::WhoHasRecent { peer: text } => Ok(Command::WhoHasRecent(peer(text)?)),
        Line::Broadcast { text } => Ok(Command::Broadcast(text)),
        Line::Quit => Ok(Command::Quit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_and_nothing_else() {
        let id = "0a".repeat(32);
        let peer: PeerId = id.parse().expect("an ID");
        assert_eq!(parse(&format!(r#"{{"do":"connect","peer":"{id}"}}"#)), Ok(Command::Connect(peer)));
        assert_eq!(
            parse(&format!(r#"{{"do":"send","peer":"{id}","file":"/x"}}"#)),
            Ok(Command::Send(peer, Content::File("/x".into()), None))
        );
        assert_eq!(
            parse(&format!(r#"{{"do":"send","peer":"{id}","text":"hello","tag":7}}"#)),
            Ok(Command::Send(peer, Content::Text("hello".into()), Some(7)))
        );
        assert!(parse(&format!(r#"{{"do":"send","peer":"{id}","text":"x","file":"/x"}}"#)).is_err());
        assert!(parse(&format!(r#"{{"do":"send","peer":"{id}"}}"#)).is_err());
        assert_eq!(parse(&format!(r#"{{"do":"find","peer":"{id}"}}"#)), Ok(Command::Find(peer)));
        let recent = format!(r#"{{"do":"whoHasRecent","peer":"{id}"}}"#);
        assert_eq!(parse(&recent), Ok(Command::WhoHasRecent(peer)));
        let broadcast = Command::Broadcast("all".to_owned());
        assert_eq!(parse(r#"{"do":"broadcast","text":"all"}"#), Ok(broadcast));
        assert_eq!(parse(r#"{"do":"quit"}"#), Ok(Command::Quit));
        for wrong in ["", "{}", r#"{"do":"dance"}"#, r#"{"do":"connect","peer":"12"}"#, r#"{"do":"find"}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
