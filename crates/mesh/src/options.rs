//! The options of `omerta-mesh run`, for all that start nodes: the daemon, and simulators that are given the same words.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use crate::config::{Bootstrap, Config, Service};
pub use crate::lie::Lie;

/// How to run a node.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// The node's key file, made if there is none; without it the node has an ID for this once.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Address and port of the node's UDP socket.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:4400")]
    pub listen: SocketAddr,
    /// Serve others: bootstrap, coordination, STUN and relay sessions. For nodes that anybody can reach.
    #[arg(long)]
    pub relay: bool,
    /// With --relay: refuse relay sessions.
    #[arg(long, requires = "relay")]
    pub coordinate_only: bool,
    /// How many relay sessions to serve.
    #[arg(long, value_name = "N", requires = "relay", default_value_t = Service::DEFAULT_SESSIONS)]
    pub sessions: usize,
    /// A public node to begin with; may be given more than once.
    #[arg(long, value_name = "ID@IP:PORT")]
    pub bootstrap: Vec<Bootstrap>,
    /// A STUN server to detect the NAT with; may be given more than once.
    #[arg(long, value_name = "IP:PORT")]
    pub stun: Vec<SocketAddr>,
    /// Where received messages are stored, as files 1, 2, 3 and so on; without it their content is dropped.
    #[arg(long, value_name = "DIR")]
    pub inbox: Option<PathBuf>,
    /// No gossip with ordinary peers, only with nodes that anybody can reach.
    #[arg(long)]
    pub no_peer_contact: bool,
    /// Take no part in birthday searches.
    #[arg(long)]
    pub no_birthday: bool,
    /// Neither tell nor believe which port a NAT will give next.
    #[arg(long)]
    pub no_prediction: bool,
    /// An endpoint that the gateway forwards to the node's port, as one that was set by hand; may be given more than once.
    #[arg(long, value_name = "IP:PORT")]
    pub mapped_endpoint: Vec<SocketAddr>,
    /// How many relays to hold behind a NAT.
    #[arg(long, value_name = "N", default_value_t = Config::RELAYS, value_parser = relays)]
    pub hold_relays: usize,
    /// How many seconds the node's announcement holds; it is repeated twelve times as often.
    #[arg(long, value_name = "SECONDS", default_value_t = Config::ANNOUNCEMENT_TTL.as_secs(), value_parser = announcement_ttl)]
    pub announcement_ttl: u64,
    /// How many announcements of others to keep; nodes beyond them are found by asking.
    #[arg(long, value_name = "N", default_value_t = Config::VIEW, value_parser = view)]
    pub view: usize,
    /// For tests of a lab: lie.
    #[arg(long, value_name = "LIE")]
    pub hostile: Option<Lie>,
    /// Print events as JSON, one object a line.
    #[arg(long)]
    pub json: bool,
    /// Take commands from standard input, one JSON object a line.
    #[arg(long)]
    pub commands: bool,
}

/// As many announcements as let lookups work, and no more than memory is good for: each may take 2 kB.
fn view(text: &str) -> Result<usize, String> {
    let views = Config::LEAST_VIEW..=Config::MOST_VIEW;
    let count = text.parse().ok().filter(|count| views.contains(count));
    count.ok_or_else(|| format!("{text:?} is no number from {} to {}", views.start(), views.end()))
}

fn relays(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=Config::MOST_RELAYS).contains(count));
    count.ok_or_else(|| format!("{text:?} is no number from 1 to {}", Config::MOST_RELAYS))
}

fn announcement_ttl(text: &str) -> Result<u64, String> {
    let (least, most) = (Config::LEAST_ANNOUNCEMENT_TTL.as_secs(), Config::ANNOUNCEMENT_TTL.as_secs());
    let seconds = text.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    seconds.ok_or_else(|| format!("{text:?} is no number of seconds from {least} to {most}"))
}

/// Words that are no options of a node, and what is wrong with them.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOptions(String);

impl RunOptions {
    /// Reads what follows `omerta-mesh run` on a command line.
    pub fn parse<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Result<Self, InvalidOptions> {
        #[derive(Parser)]
        #[command(name = "omerta-mesh run", no_binary_name = true)]
        struct Words {
            #[command(flatten)]
            options: RunOptions,
        }
        let words = words.into_iter().map(Into::into);
        let parsed = Words::try_parse_from(words.map(std::ffi::OsString::from));
        parsed.map(|words| words.options).map_err(|error| InvalidOptions(error.to_string()))
    }

    /// What the node does for others.
    pub fn service(&self) -> Service {
        match (self.relay, self.coordinate_only) {
            (false, _) => Service::None,
            (true, true) => Service::Coordinator,
            (true, false) => Service::Relay { sessions: self.sessions },
        }
    }

    /// Whom the node will talk to first. From which of the host's addresses is for the driver to find out.
    pub fn destinations(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.stun.iter().copied().chain(self.bootstrap.iter().map(|bootstrap| bootstrap.address))
    }

    /// The node's settings: `fresh` with these options, on a host with these addresses.
    pub fn config(&self, fresh: Config, host_addresses: Vec<IpAddr>) -> Config {
        Config {
            bootstrap: self.bootstrap.clone(),
            stun: self.stun.clone(),
            port: self.listen.port(),
            host_addresses,
            service: self.service(),
            birthday: !self.no_birthday,
            prediction: !self.no_prediction,
            mapped: self.mapped_endpoint.clone(),
            relays: self.hold_relays,
            announcement_ttl: Duration::from_secs(self.announcement_ttl),
            view: self.view,
            peer_contact: !self.no_peer_contact,
            lie: self.hostile,
            ..fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_node_is_an_id_at_a_numeric_address() {
        let id = "ab".repeat(32);
        let bootstrap = format!("{id}@10.0.0.1:4400").parse::<Bootstrap>().expect("well-formed");
        assert_eq!(bootstrap.id.to_string(), id);
        for wrong in ["10.0.0.1:4400", "ab@10.0.0.1:4400", &format!("{id}@localhost:1")] {
            assert!(wrong.parse::<Bootstrap>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_become_the_settings_that_the_daemon_has() {
        let bootstrap = format!("{}@10.0.0.1:4400", "ab".repeat(32));
        let words =
            ["--json", "--listen", "0.0.0.0:77", "--bootstrap", &bootstrap, "--stun", "10.0.0.2:3478"];
        let options = RunOptions::parse(words.into_iter().chain(["--no-birthday"])).expect("options");
        assert_eq!(options.destinations().count(), 2);
        let config = options.config(Config::new([3; 32], 9), vec![[10, 0, 0, 9].into()]);
        assert_eq!((config.seed, config.epoch, config.port), ([3; 32], 9, 77));
        assert_eq!((config.bootstrap.len(), config.stun.len(), config.host_addresses.len()), (1, 1, 1));
        assert_eq!((config.birthday, config.prediction, config.view), (false, true, Config::VIEW));
        assert_eq!(config.service, Service::None);

        let words = ["--no-prediction", "--view", "64", "--mapped-endpoint", "198.51.100.1:4400"];
        let config = RunOptions::parse(words).expect("options").config(Config::new([3; 32], 9), Vec::new());
        assert_eq!((config.birthday, config.prediction, config.view), (true, false, 64));
        let words = ["--hold-relays", "1", "--announcement-ttl", "12"];
        let short = RunOptions::parse(words).expect("options").config(Config::new([3; 32], 9), Vec::new());
        assert_eq!((short.relays, short.announcement_ttl), (1, Duration::from_secs(12)));
        assert_eq!(config.mapped, ["198.51.100.1:4400".parse().expect("an endpoint")]);

        let relay = RunOptions::parse(["--relay", "--sessions", "9"]).expect("options");
        assert_eq!(relay.service(), Service::Relay { sessions: 9 });
        let coordinator = RunOptions::parse(["--relay", "--coordinate-only"]).expect("options");
        assert_eq!(coordinator.service(), Service::Coordinator);
    }

    #[test]
    fn wrong_words_are_named() {
        let wrong = RunOptions::parse(["--dance"]).expect_err("no option");
        assert!(wrong.to_string().contains("--dance"), "{wrong}");
        assert!(RunOptions::parse(["--coordinate-only"]).is_err(), "needs --relay");
        for words in
            ["--hold-relays=0", "--hold-relays=17", "--announcement-ttl=11", "--announcement-ttl=3601"]
        {
            assert!(
                RunOptions::parse([words]).expect_err(words).to_string().contains("is no number"),
                "{words}"
            );
        }
        for view in ["0", "15", "1000001", "many", "-1"] {
            let wrong = RunOptions::parse([format!("--view={view}")]).expect_err("no view");
            assert!(wrong.to_string().contains("from 16 to 1000000"), "{wrong}");
        }
    }
}
