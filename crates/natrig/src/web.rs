//! A run in a browser, while it goes on: `--web`.
//!
//! A server in the run's own process hands out the page and then sends it what happens ([`history`]). Who may ask it is in
//! [`access`], what a request may be in [`http`], and what is answered in [`serve`].

mod access;
mod history;
mod http;
mod serve;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use natrig_record::{Event, Results, Sink};

use self::{
    access::{Guard, Token},
    history::History,
    serve::Server,
};
use crate::{failure::Failure, output::tell};

/// Where the server listens if nothing is said: on a free port that only this host reaches.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What may say the token where other users of the host cannot read it.
const TOKEN: &str = "NATRIG_WEB_TOKEN";

/// How long the end of a run waits for pages to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Options of a run that is served.
#[derive(Debug, Clone, Default, Args)]
pub struct WebOptions {
    /// Show the run in a browser while it goes on; on a free port of this host if no address is given
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:0")]
    pub web: Option<SocketAddr>,
    /// What a browser must know to be let in, at least 16 characters; needed for an address that other hosts reach.
    /// NATRIG_WEB_TOKEN says it where other users of this host cannot read it
    #[arg(long, value_name = "TOKEN", requires = "web")]
    pub web_token: Option<String>,
}

/// The command line with `--web ADDR` as one word, which leaves `--web FILE` to be what it looks like.
pub fn joined(words: impl IntoIterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut joined: Vec<std::ffi::OsString> = Vec::new();
    for word in words {
        let address = word.to_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok());
        match joined.last_mut() {
            Some(last) if address && last == "--web" => {
                last.push("=");
                last.push(word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

/// The command line as a run's record has it: without how it was watched, and above all without the token.
pub fn unwatched(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--web" => {
                words.next_if(|next| next.parse::<SocketAddr>().is_ok());
            }
            "--web-token" => {
                words.next();
            }
            word if word.starts_with("--web=") || word.starts_with("--web-token=") => {}
            _ => kept.push(word),
        }
    }
    kept
}

/// A run that is served.
pub struct Web {
    history: Arc<History>,
}

impl Web {
    /// Opens it, if that is asked for, and says where.
    pub fn open(options: &WebOptions) -> Result<Option<Self>, Failure> {
        let Some(address) = options.web else { return Ok(None) };
        let token = options.web_token.clone().or_else(|| std::env::var(TOKEN).ok());
        let token = access::admitted(address, token)?;
        let (web, address) = Web::listen(address, token)?;
        tell(&format!("web: http://{address}/"));
        Ok(Some(web))
    }

    fn listen(address: SocketAddr, token: Option<Token>) -> Result<(Self, SocketAddr), Failure> {
        let wrong =
            |error| Failure::Usage(format!("cannot listen on {address}: {error}\nhint: --web {ANYWHERE}"));
        let listener = TcpListener::bind(address).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let history = Arc::new(History::new());
        Server::new(Guard::new(address, token), Arc::clone(&history))?.start(listener).map_err(wrong)?;
        Ok((Web { history }, address))
    }

    /// Takes what happens, and hands it on.
    pub fn beside<'a>(&'a self, other: &'a dyn Sink) -> impl Sink + 'a {
        move |event: Event| {
            self.history.take(&event);
            other.event(event);
        }
    }

    /// Tells pages that the run is over, and waits for them a moment.
    pub fn end(&self, came_to: Result<&Results, &Failure>) {
        self.history.end(came_to.map_err(ToString::to_string), FAREWELL);
    }
}

#[cfg(test)]
mod tests;
