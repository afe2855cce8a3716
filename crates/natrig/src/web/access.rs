//! Who may ask.
//!
//! A server on loopback is reached by every page that a browser on this host has open: by a name that somebody lets point here
//! (DNS rebinding), or by a form or script of another site. So the names are few, and other origins are refused. Beyond loopback
//! a token is needed as well.

use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use super::http::Request;
use crate::failure::Failure;

/// A token that is shorter could be guessed.
const SHORTEST: usize = 16;

/// What a browser must know to be let in.
#[derive(Clone)]
pub struct Token(String);

/// Gives the token that an address needs; an address that other hosts reach has none without one.
pub fn admitted(address: SocketAddr, token: Option<String>) -> Result<Option<Token>, Failure> {
    match token {
        Some(token) if token.chars().count() < SHORTEST => Err(Failure::Usage(format!(
            "the token for --web has fewer than {SHORTEST} characters\nhint: NATRIG_WEB_TOKEN=$(openssl rand -hex 16)"
        ))),
        Some(token) => Ok(Some(Token(token))),
        None if address.ip().is_loopback() => Ok(None),
        None => Err(Failure::Usage(format!(
            "--web {address} can be reached from other hosts, and everybody there could look on\nhint: give a token with \
             --web-token or NATRIG_WEB_TOKEN; or listen on 127.0.0.1 and come by ssh -L"
        ))),
    }
}

/// What becomes of a request before anybody looks at what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is answered.
    Granted,
    /// It brought the token, and gets a cookie to be known by.
    Welcome {
        /// The cookie.
        cookie: String,
    },
    /// It is not answered.
    Refused {
        /// The status of the refusal.
        status: u16,
        /// Why, as a sentence, and what to do.
        why: &'static str,
    },
}

/// Decides who may ask.
pub struct Guard {
    bound: SocketAddr,
    token: Option<Token>,
    /// What the cookie holds instead of the token; another one in every process.
    session: String,
}

impl Guard {
    /// For a server that listens there.
    pub fn new(bound: SocketAddr, token: Option<Token>) -> Self {
        Guard { bound, token, session: format!("{:032x}", rand::random::<u128>()) }
    }

    /// Looks at a request.
    pub fn admit(&self, request: &Request) -> Admission {
        let refused = |status, why| Admission::Refused { status, why };
        let Some(host) = request.only("host").filter(|host| self.is_ours(host)) else {
            return refused(421, "This server is not called so. Use the address that natrig printed.");
        };
        let own = |origin: &str| origin.strip_prefix("http://") == Some(host);
        match request.only("origin") {
            Some(origin) if own(origin) => {}
            None if request.count("origin") == 0 && request.method == "GET" => {}
            _ => return refused(403, "Pages of another origin may not ask this server."),
        }
        let Some(Token(token)) = &self.token else { return Admission::Granted };
        if request.cookies(&self.cookie()).any(|session| equal(session, &self.session)) {
            return Admission::Granted;
        }
        match request.parameter("token") {
            Some(given) if equal(&given, token) => Admission::Welcome {
                cookie: format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie(), self.session),
            },
            Some(_) => refused(403, "This is not the token."),
            None => refused(401, "A token is needed: add ?token=TOKEN to the address once."),
        }
    }

    /// Cookies are shared by all ports of a host.
    fn cookie(&self) -> String {
        format!("natrig-{}", self.bound.port())
    }

    /// A name is ours if no name server can make it so: `localhost`, or the very address. The port may be another one, since a
    /// way through ssh has its own.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() && !name.ends_with(':') => name,
            _ => host,
        };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match name.parse::<IpAddr>() {
            Ok(address) if self.bound.ip().is_loopback() => address.is_loopback(),
            Ok(address) => address == self.bound.ip() || self.bound.ip().is_unspecified(),
            Err(_) => false,
        }
    }
}

/// Compares in a time that tells nothing but the length.
fn equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
