//! A run in a browser, while it goes on, or a lab that stays up: `--web`.
//!
//! A server in the run's own process hands out the page and then sends it what happens ([`history`]). Who may ask it is in
//! [`access`], what a request may be in [`http`], what is answered in [`serve`], and what may be done in [`deeds`].

mod access;
mod deeds;
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

#[cfg(feature = "machines")]
pub use self::deeds::Deed;
use self::{
    access::{Guard, Token},
    deeds::Deeds,
    history::History,
    serve::Server,
};
use crate::{failure::Failure, output::tell};

/// Where the server listens if nothing is said: on a free port that only this host reaches.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What may say the token where other users of the host cannot read it.
pub const TOKEN: &str = "NATRIG_WEB_TOKEN";

/// How long the end of a run waits for pages to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Options of a run that is served.
#[derive(Debug, Clone, Default, Args)]
pub struct WebOptions {
    /// Show in a browser what goes on; on a free port of this host if no address is given
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

/// A run that is served, or a lab.
pub struct Web {
    history: Arc<History>,
    #[cfg_attr(not(feature = "machines"), allow(dead_code, reason = "only a lab has faults done by hand"))]
    deeds: Arc<Deeds>,
    address: SocketAddr,
}

impl Web {
    /// Opens it, if that is asked for, and says where.
    pub fn open(options: &WebOptions) -> Result<Option<Self>, Failure> {
        let web = Web::opened(options)?;
        if let Some(web) = &web {
            tell(&format!("web: {}", web.place()));
        }
        Ok(web)
    }

    /// Opens it, if that is asked for.
    pub fn opened(options: &WebOptions) -> Result<Option<Self>, Failure> {
        let Some(address) = options.web else { return Ok(None) };
        let token = options.web_token.clone().or_else(|| std::env::var(TOKEN).ok());
        let token = access::admitted(address, token)?;
        Web::listen(address, token).map(Some)
    }

    /// Where it is.
    pub fn place(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn listen(address: SocketAddr, token: Option<Token>) -> Result<Self, Failure> {
        let wrong =
            |error| Failure::Usage(format!("cannot listen on {address}: {error}\nhint: --web {ANYWHERE}"));
        let listener = TcpListener::bind(address).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let (history, deeds) = (Arc::new(History::new()), Arc::<Deeds>::default());
        let server = Server::new(Guard::new(address, token), Arc::clone(&history), Arc::clone(&deeds))?;
        server.start(listener).map_err(wrong)?;
        Ok(Web { history, deeds, address })
    }

    /// Takes what happens, and hands it on.
    pub fn beside<'a>(&'a self, other: &'a dyn Sink) -> impl Sink + 'a {
        move |event: Event| {
            self.history.take(&event);
            other.event(event);
        }
    }

    /// What takes what happens from now on, wherever it is.
    #[cfg(feature = "machines")]
    pub fn ear(&self) -> impl Fn(Event) + Send + 'static {
        let history = Arc::clone(&self.history);
        move |event| history.take(&event)
    }

    /// Lets pages have something done.
    #[cfg(feature = "machines")]
    pub fn allow(&self, deed: Deed) {
        self.deeds.allow(deed);
    }

    /// Tells pages how things stand with a lab, in place of what they were told before.
    #[cfg(feature = "machines")]
    pub fn stands(&self, how: &serde_json::Value) {
        self.history.stands(how);
    }

    /// Tells pages that the run is over, and waits for them a moment.
    pub fn end(&self, came_to: Result<&Results, &Failure>) {
        self.history.end(&history::end_of_run(came_to.map_err(ToString::to_string)), FAREWELL);
    }

    /// Tells pages that the lab is down, and waits for them a moment.
    #[cfg(feature = "machines")]
    pub fn down(&self) {
        self.history.end(&serde_json::json!({ "type": "ended", "down": true }), FAREWELL);
    }
}

#[cfg(test)]
mod tests;
