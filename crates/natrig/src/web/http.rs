//! Requests and answers: one of each for a connection, within bounds of size and time.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// What a request may have before its body.
const LONGEST_HEAD: usize = 16 << 10;

/// What a request may have as its body.
const LONGEST_BODY: usize = 64 << 10;

/// How many fields a request may have.
const MOST_FIELDS: usize = 64;

/// How long somebody is listened to whose request is refused, so that the refusal is heard.
const LINGER: Duration = Duration::from_millis(300);

/// What somebody asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Without what follows a question mark.
    pub path: String,
    /// What follows it.
    pub query: String,
    /// Fields, with names in small letters.
    pub fields: Vec<(String, String)>,
    /// What was sent with it.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a field that is there once.
    pub fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// How often a field is there.
    pub fn count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the address.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
    }

    /// All cookies of a name.
    pub fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.values("cookie").flat_map(|value| value.split(';'));
        pairs.filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
    }
}

/// Text of an address, without `%` and `+`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = || {
            let mut ahead = rest.clone();
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let number = digit(ahead.next())? * 16 + digit(ahead.next())?;
            Some((u8::try_from(number).ok()?, ahead))
        };
        match (byte, digits()) {
            (b'%', Some((number, ahead))) => {
                bytes.push(number);
                rest = ahead;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    /// Its head does not end within bounds.
    #[error("The request's head is too long.")]
    LongHead,
    /// Its body is longer than is taken.
    #[error("The request's body is too long.")]
    LongBody,
    /// It is not HTTP, or in a form that is not taken.
    #[error("This is no request that is understood here.")]
    Nonsense,
    /// It did not come, or not in time.
    #[error("The request did not come: {0}")]
    Broken(#[from] io::Error),
}

impl BadRequest {
    /// What to answer with; none if nobody listens.
    pub fn status(&self) -> Option<u16> {
        match self {
            BadRequest::LongHead => Some(431),
            BadRequest::LongBody => Some(413),
            BadRequest::Nonsense => Some(400),
            BadRequest::Broken(error) => match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Some(408),
                _ => None,
            },
        }
    }
}

/// A connection that must be done with what it does by some time.
pub struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl<'a> Timed<'a> {
    /// From now on for so long.
    pub fn new(stream: &'a TcpStream, time: Duration) -> Self {
        Timed { stream, until: Instant::now() + time }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a request.
pub fn read(from: &mut impl Read) -> Result<Request, BadRequest> {
    let mut bytes = Vec::new();
    let (mut request, head) = loop {
        if let Some(found) = head(&bytes)? {
            break found;
        }
        let room = LONGEST_HEAD.saturating_sub(bytes.len());
        if room == 0 {
            return Err(BadRequest::LongHead);
        }
        let mut chunk = [0; 4096];
        let most = room.min(chunk.len());
        match from.read(&mut chunk[..most])? {
            0 => return Err(BadRequest::Broken(io::ErrorKind::UnexpectedEof.into())),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    };
    if request.count("transfer-encoding") > 0 || request.count("content-length") > 1 {
        return Err(BadRequest::Nonsense);
    }
    let length = match request.only("content-length") {
        None => 0,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| BadRequest::LongBody)?
        }
        Some(_) => return Err(BadRequest::Nonsense),
    };
    if length > LONGEST_BODY {
        return Err(BadRequest::LongBody);
    }
    request.body = bytes.split_off(head);
    let there = request.body.len();
    if there > length {
        return Err(BadRequest::Nonsense);
    }
    request.body.resize(length, 0);
    from.read_exact(&mut request.body[there..])?;
    Ok(request)
}

/// What stands before the body, and how long it is; none if it is not all there.
fn head(bytes: &[u8]) -> Result<Option<(Request, usize)>, BadRequest> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::LongHead),
        Err(_) => return Err(BadRequest::Nonsense),
    };
    let target = parsed.path.filter(|path| path.starts_with('/')).ok_or(BadRequest::Nonsense)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields = parsed.headers.iter().map(|field| {
        let value = std::str::from_utf8(field.value).map_err(|_| BadRequest::Nonsense)?;
        Ok((field.name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        fields: fields.collect::<Result<_, BadRequest>>()?,
        body: Vec::new(),
    };
    Ok(Some((request, length)))
}

/// What is sent back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// More fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body's type.
    pub kind: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A sentence.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let body = text.into().into_bytes();
        Response { status, kind: "text/plain; charset=utf-8", body, fields: Vec::new() }
    }

    /// Data.
    pub fn json(body: Vec<u8>) -> Self {
        Response { status: 200, kind: "application/json", body, fields: Vec::new() }
    }

    /// Sends it, within the time that a connection has.
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let head = start(self.status, self.kind, &self.fields);
        to.write_all(format!("{head}Content-Length: {}\r\n\r\n", self.body.len()).as_bytes())?;
        to.write_all(&self.body)
    }
}

/// The begin of an answer that ends with its connection.
pub fn stream_head() -> String {
    start(200, "text/event-stream; charset=utf-8", &[]) + "\r\n"
}

/// What every answer begins with: nothing is kept, guessed, or shown to other origins.
fn start(status: u16, kind: &str, fields: &[(&str, String)]) -> String {
    let reason = match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    };
    let mut head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nConnection: close\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n"
    );
    for (name, value) in fields {
        // Nothing in a value may end its line; ours do not, whatever they are made of.
        head += &format!("{name}: {}\r\n", value.replace(['\r', '\n'], " "));
    }
    head
}

/// Ends a connection so that what was sent is read: a peer that still sends would lose it otherwise.
pub fn part_with(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Timed::new(stream, LINGER).take((LONGEST_HEAD + LONGEST_BODY) as u64);
    let _ = io::copy(&mut rest, &mut io::sink());
}
