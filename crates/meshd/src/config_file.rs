//! The configuration file.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use omerta_mesh::{Invite, NetworkKey};
use omerta_mesh_core::{Bootstrap, Config};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cli::RunArguments;

/// What can be configured. All of it can be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Address and port of the UDP socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The key of a private network.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Text<NetworkKey>>,
    /// Public nodes to begin with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bootstrap: Vec<Text<Bootstrap>>,
    /// STUN servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stun: Vec<SocketAddr>,
    /// Serve others.
    #[serde(skip_serializing_if = "is_default")]
    pub relay: bool,
    /// Refuse relay sessions.
    #[serde(skip_serializing_if = "is_default")]
    pub coordinate_only: bool,
    /// How many relay sessions to serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<usize>,
    /// Where received messages are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<PathBuf>,
    /// The key file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Take part in birthday searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthday: Option<bool>,
    /// Tell and believe which port a NAT will give next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<bool>,
    /// Endpoints that the gateway forwards to the node's port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mapped_endpoints: Vec<SocketAddr>,
    /// How many relays to hold behind a NAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_relays: Option<usize>,
    /// How many seconds the node's announcement holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announcement_ttl: Option<u64>,
    /// How many announcements of others to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<usize>,
    /// Gossip with ordinary peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_contact: Option<bool>,
    /// Where to serve metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something else than a configuration.
    #[error("in the configuration {path}: {what}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What, and where.
        what: String,
    },
}

impl ConfigFile {
    /// Reads the file; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        match Self::parse(&text) {
            Ok(config) => Ok(Some(config)),
            Err(what) => Err(ConfigError::Content { path: path.to_owned(), what }),
        }
    }

    /// Reads a configuration; the error says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if config.coordinate_only && !config.relay {
            return Err("coordinate-only needs relay: true".to_owned());
        }
        let views = Config::LEAST_VIEW..=Config::MOST_VIEW;
        if config.view.is_some_and(|view| !views.contains(&view)) {
            return Err(format!("view must be a number from {} to {}", views.start(), views.end()));
        }
        if config.hold_relays.is_some_and(|relays| !(1..=Config::MOST_RELAYS).contains(&relays)) {
            return Err(format!("hold-relays must be a number from 1 to {}", Config::MOST_RELAYS));
        }
        let (least, most) = (Config::LEAST_ANNOUNCEMENT_TTL.as_secs(), Config::ANNOUNCEMENT_TTL.as_secs());
        if config.announcement_ttl.is_some_and(|seconds| !(least..=most).contains(&seconds)) {
            return Err(format!("announcement-ttl must be a number of seconds from {least} to {most}"));
        }
        Ok(config)
    }

    /// The file's content.
    pub fn text(&self) -> Result<String, String> {
        let text = serde_saphyr::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("{}\n", text.trim_end()))
    }

    /// The key of the network.
    pub fn network(&self) -> Option<NetworkKey> {
        self.network.as_ref().map(|key| key.0)
    }

    /// The nodes to begin with.
    pub fn bootstrap(&self) -> impl Iterator<Item = Bootstrap> + '_ {
        self.bootstrap.iter().map(|node| node.0)
    }

    /// Whether it is configured for a mesh.
    pub fn has_mesh(&self) -> bool {
        self.network.is_some() || !self.bootstrap.is_empty()
    }

    /// Configures it for the mesh of an invitation.
    pub fn join(&mut self, invite: &Invite) {
        self.network = invite.network.map(Text);
        self.bootstrap = invite.bootstrap.iter().copied().map(Text).collect();
        self.stun.clone_from(&invite.stun);
    }

    /// Fills in what the command line does not say.
    pub fn complete(&self, arguments: &mut RunArguments, matches: &ArgMatches) {
        let is_said = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        let options = &mut arguments.options;
        if let Some(listen) = self.listen.filter(|_| !is_said("listen")) {
            options.listen = listen;
        }
        if let Some(sessions) = self.sessions.filter(|_| !is_said("sessions")) {
            options.sessions = sessions;
        }
        if let Some(view) = self.view.filter(|_| !is_said("view")) {
            options.view = view;
        }
        if let Some(relays) = self.hold_relays.filter(|_| !is_said("hold_relays")) {
            options.hold_relays = relays;
        }
        if let Some(seconds) = self.announcement_ttl.filter(|_| !is_said("announcement_ttl")) {
            options.announcement_ttl = seconds;
        }
        if options.mapped_endpoint.is_empty() {
            options.mapped_endpoint.clone_from(&self.mapped_endpoints);
        }
        if options.bootstrap.is_empty() {
            options.bootstrap = self.bootstrap().collect();
        }
        if options.stun.is_empty() {
            options.stun.clone_from(&self.stun);
        }
        if !options.relay {
            options.relay = self.relay;
            options.coordinate_only = self.coordinate_only;
        }
        options.inbox = options.inbox.take().or_else(|| self.inbox.clone());
        options.key = options.key.take().or_else(|| self.key.clone());
        options.no_birthday |= self.birthday == Some(false);
        options.no_prediction |= self.prediction == Some(false);
        options.no_peer_contact |= self.peer_contact == Some(false);
        arguments.metrics = arguments.metrics.or(self.metrics);
    }
}

/// A value that is written as its text.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Text<T>(T);

impl<'de, T: std::str::FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Text<Bootstrap> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Text<NetworkKey> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = "\
listen: 127.0.0.1:4401
network: '0101010101010101010101010101010101010101010101010101010101010101'
bootstrap:
  - abababababababababababababababababababababababababababababababab@10.0.0.1:4400
stun: [10.0.0.2:3478]
relay: true
sessions: 100
inbox: /var/lib/in
birthday: false
prediction: false
mapped-endpoints: [198.51.100.1:4400]
hold-relays: 2
announcement-ttl: 600
view: 64
metrics: 127.0.0.1:9440
";

    #[test]
    fn a_configuration_reads_back() {
        let config = ConfigFile::parse(WHOLE).expect("right");
        assert_eq!(config.bootstrap().count(), 1);
        assert_eq!(config.network(), Some(NetworkKey::from_bytes([1; 32])));
        let text = config.text().expect("text");
        assert_eq!(ConfigFile::parse(&text).expect("right"), config, "{text}");
        assert_eq!(ConfigFile::parse(" \n").expect("empty"), ConfigFile::default());
    }

    #[test]
    fn mistakes_are_shown_with_their_place() {
        for (text, line, word) in [
            ("relay: true\ndance: 1\n", "line 2", "dance"),
            ("relay: true\n\nsessions: many\n", "line 3", "many"),
            ("bootstrap:\n  - ab@10.0.0.1:4400\n", "line 2", "64 hexadecimal digits"),
            ("network: 12ab\n", "line 1", "64 hexadecimal digits"),
            ("listen: here\n", "line 1", "address"),
        ] {
            let error = ConfigFile::parse(text).expect_err("wrong");
            assert!(error.contains(line) && error.contains(word), "{text}: {error}");
        }
        assert!(ConfigFile::parse("view: 15").expect_err("too few").contains("from 16 to 1000000"));
        assert!(ConfigFile::parse("hold-relays: 0").expect_err("too few").contains("from 1 to 16"));
        assert!(ConfigFile::parse("announcement-ttl: 5").expect_err("short").contains("from 12 to 3600"));
        assert!(ConfigFile::parse("coordinate-only: true").expect_err("alone").contains("relay"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            // Whether it is a configuration is chance.
            let _ = ConfigFile::parse(&text);
        }
    }
}
