//! The commands that speak with a running node.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use omerta_mesh::PeerId;
use serde_json::{Value, json};

use crate::home::Home;
use crate::protocol::{Answer, MAX_MESSAGE, Request};
use crate::show;

/// A command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is nobody to ask.
    #[error(
        "no node runs in {home} ({source})\nhint: start one with `omerta-mesh run`, or say with --home where one runs"
    )]
    NoNode {
        /// Where.
        home: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the node has broken off: {0}")]
    Broken(#[from] io::Error),
    /// The node does not understand.
    #[error("the node refuses: {0}")]
    Refused(String),
    /// The file to send.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The message is too long.
    #[error("a message has at most {MAX_MESSAGE} bytes")]
    Long,
    /// What was asked for did not come about.
    #[error("{0}")]
    Failed(String),
}

/// A conversation with the running node.
pub struct Node {
    reader: BufReader<UnixStream>,
}

impl Node {
    /// Finds the node that runs in `home`.
    pub fn find(home: &Home) -> Result<Self, AskError> {
        let stream = UnixStream::connect(home.control())
            .map_err(|source| AskError::NoNode { home: home.path().to_owned(), source })?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Asks for something.
    pub fn ask(&mut self, request: &Request) -> Result<Value, AskError> {
        match self.exchange(request, &[])? {
            Answer::Done(value) => Ok(value),
            other => Err(unexpected(other)),
        }
    }

    fn exchange(&mut self, request: &Request, body: &[u8]) -> Result<Answer, AskError> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        let stream = self.reader.get_mut();
        stream.write_all(&line)?;
        stream.write_all(body)?;
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_str(&line).map_err(io::Error::other)?)
    }
}

fn unexpected(answer: Answer) -> AskError {
    match answer {
        Answer::Failed(why) => AskError::Failed(why),
        Answer::Wrong(why) => AskError::Refused(why),
        _ => AskError::Refused("an answer to something else".to_owned()),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Prints what the node answers, in words or as it is.
pub fn show(home: &Home, request: &Request, json: bool, words: fn(&Value) -> String) -> Result<(), AskError> {
    let answer = Node::find(home)?.ask(request)?;
    print(&answer, json, words)
}

fn print(answer: &Value, json: bool, words: fn(&Value) -> String) -> Result<(), AskError> {
    let text = if json { format!("{answer}\n") } else { words(answer) };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a link.
pub fn invite(home: &Home, address: Option<SocketAddr>, json: bool) -> Result<(), AskError> {
    show(home, &Request::Invite { address }, json, show::invite)
}

/// Asks a peer again and again whether it is there. An error if it never answers.
pub fn ping(
    home: &Home,
    peer: PeerId,
    count: u32,
    interval: Duration,
    timeout: Duration,
    json: bool,
) -> Result<(), AskError> {
    let mut node = Node::find(home)?;
    let request = Request::Ping { peer, timeout: milliseconds(timeout) };
    let (mut answered, mut last) = (0, None);
    for n in 0..count {
        if n > 0 {
            std::thread::sleep(interval);
        }
        match node.ask(&request) {
            Ok(answer) => {
                answered += 1;
                print(&answer, json, show::ping)?;
            }
            Err(AskError::Failed(why)) => {
                let failed = json!({"peer": peer, "error": why});
                print(&failed, json, show::ping)?;
                last = Some(why);
            }
            Err(error) => return Err(error),
        }
    }
    match last {
        Some(why) if answered == 0 => Err(AskError::Failed(why)),
        _ => Ok(()),
    }
}

/// Sends a message.
pub fn send(
    home: &Home,
    peer: PeerId,
    message: Message,
    timeout: Duration,
    json: bool,
) -> Result<(), AskError> {
    let mut node = Node::find(home)?;
    let data = message.read()?;
    let bytes = data.len() as u64;
    if bytes > MAX_MESSAGE {
        return Err(AskError::Long);
    }
    match node.exchange(&Request::Send { peer, bytes, timeout: milliseconds(timeout) }, &data)? {
        Answer::Done(answer) => print(&answer, json, show::sent),
        other => Err(unexpected(other)),
    }
}

/// What to send.
pub enum Message {
    /// These words.
    Text(String),
    /// A file's content.
    File(PathBuf),
    /// Standard input, to its end.
    Input,
}

impl Message {
    fn read(self) -> Result<Vec<u8>, AskError> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::File(path) => fs::read(&path).map_err(|source| AskError::File { path, source }),
            Self::Input => {
                let mut data = Vec::new();
                let read = io::stdin().lock().take(MAX_MESSAGE + 1).read_to_end(&mut data);
                read.map_err(|source| AskError::File { path: "standard input".into(), source })?;
                Ok(data)
            }
        }
    }
}

/// Takes messages: their bytes as they are, or a line of JSON each.
pub fn recv(
    home: &Home,
    count: u64,
    from: Option<PeerId>,
    timeout: Option<Duration>,
    json: bool,
) -> Result<(), AskError> {
    let mut node = Node::find(home)?;
    let mut taken = 0;
    while count == 0 || taken < count {
        let request = Request::Recv { from, timeout: timeout.map(milliseconds) };
        let (peer, bytes, path) = match node.exchange(&request, &[])? {
            Answer::Message { peer, bytes, path } => (peer, bytes, path),
            other => return Err(unexpected(other)),
        };
        let mut data = Vec::new();
        (&mut node.reader).take(bytes).read_to_end(&mut data)?;
        if data.len() as u64 != bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut out = io::stdout().lock();
        if json {
            let mut line = json!({"peer": peer, "path": path, "bytes": bytes});
            match String::from_utf8(data) {
                Ok(text) => line["text"] = text.into(),
                Err(other) => line["hex"] = show::hex(&other.into_bytes()).into(),
            }
            writeln!(out, "{line}")?;
        } else {
            out.write_all(&data)?;
            // One after the other they are told apart by lines.
            if count != 1 && !data.ends_with(b"\n") {
                out.write_all(b"\n")?;
            }
        }
        out.flush()?;
        taken += 1;
    }
    Ok(())
}
