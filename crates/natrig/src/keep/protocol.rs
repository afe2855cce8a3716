//! What passes between a lab's process and the commands that use it: frames as those of the guests' agent.

use std::{
    io::{self, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
};

use natrig_agent_proto::{Decoder, Exit, Stream, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a command asks; the first frame of a connection, and further ones while a program runs.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// End the lab. Answered by [`Answer::Done`] when all machines are gone.
    Down,
    /// What the lab is made of, and what is broken in it. Answered by [`Answer::Text`].
    Status {
        /// As JSON.
        json: bool,
    },
    /// Where its captures and logs are. Answered by [`Answer::Text`].
    Folder,
    /// Do a fault. Answered by [`Answer::Text`] when it has taken effect, or by [`Answer::Unmet`]. Who hangs up before ends what
    /// takes its time.
    Fault {
        /// The fault, as on the command line.
        words: Vec<String>,
        /// As JSON.
        json: bool,
    },
    /// Run a program. Answered by [`Answer::Output`] and [`Answer::Exited`].
    Exec {
        /// The machine.
        machine: String,
        /// The program and its arguments.
        argv: Vec<String>,
        /// A terminal of this many rows and columns.
        terminal: Option<(u16, u16)>,
    },
    /// Measure which NAT a machine is behind. Answered by [`Answer::Measured`].
    Probe(Inquiry),
    /// Bytes for the program's standard input; none ends it.
    Input(Vec<u8>),
    /// The terminal has another size.
    Resize((u16, u16)),
}

/// What is to be measured from a machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inquiry {
    /// The machine.
    pub machine: String,
    /// The fast steps only.
    pub fast: bool,
    /// Timers, too.
    pub timers: bool,
    /// As JSON.
    pub json: bool,
}

/// What a lab's process answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Text for people.
    Text(String),
    /// What was measured, as text, and whether it is what it should be.
    Measured(String, bool),
    /// What a program wrote.
    Output(Stream, Vec<u8>),
    /// How it ended.
    Exited(Exit),
    /// It is done.
    Done,
    /// A node did not report what was expected.
    Unmet(String),
    /// It cannot be done, and why.
    Refused(String),
}

/// The address of a lab of this user.
pub fn address(name: &str) -> io::Result<SocketAddr> {
    let user = rustix::process::getuid().as_raw();
    SocketAddr::from_abstract_name(format!("natrig/{user}/{name}"))
}

/// A connection that carries messages.
pub struct Channel {
    stream: UnixStream,
    decoder: Decoder,
}

impl Channel {
    pub fn new(stream: UnixStream) -> Self {
        Channel { stream, decoder: Decoder::default() }
    }

    /// Another end for writing, or for reading if this one only writes.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Channel::new(self.stream.try_clone()?))
    }

    pub fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let frame = encode(message).map_err(io::Error::other)?;
        self.stream.write_all(&frame)
    }

    /// The next message; none when the other end has closed.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut chunk = [0; 1 << 14];
        loop {
            if let Some(message) = self.decoder.next_message().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            match self.stream.read(&mut chunk)? {
                0 => return Ok(None),
                length => self.decoder.push(&chunk[..length]),
            }
        }
    }
}
