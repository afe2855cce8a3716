//! What the process around a [`Gateway`] is told, and what it tells, as lines of JSON.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Gateway, fragments::Fragments};
use crate::{
    Profile,
    engine::{Flow, Prefix, WrongGateway},
};

/// What it is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How it behaves.
    pub profile: Profile,
    /// Its outside addresses, the first one for what it has to say there.
    pub outside: Vec<Ipv4Addr>,
    /// The network behind it.
    pub inside: Prefix,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Where outside is.
    pub wan: Interface,
    /// Where inside is.
    pub lan: Interface,
    /// What its random ports come from.
    pub seed: u64,
}

/// A network interface and what can be reached there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// What it is called.
    pub name: String,
    /// Networks whose hosts are neighbours.
    pub networks: Vec<Prefix>,
    /// Networks behind a neighbour.
    #[serde(default)]
    pub routes: Vec<(Prefix, Ipv4Addr)>,
}

/// What happens to it while it runs; each is answered by one [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// Nothing: it is asked how it is.
    State,
    /// The same, with every flow.
    Table,
    /// [`Engine::reboot`](crate::Engine::reboot).
    Reboot,
    /// [`Engine::rebind`](crate::Engine::rebind).
    Rebind,
    /// [`Engine::renumber`](crate::Engine::renumber).
    Renumber {
        /// The addresses from now on.
        outside: Vec<Ipv4Addr>,
    },
    /// [`Engine::close`](crate::Engine::close).
    Close,
    /// [`Engine::reconfigure`](crate::Engine::reconfigure).
    Reconfigure {
        /// How it behaves from now on.
        profile: Profile,
    },
}

/// Whether it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It did; this is how it is since.
    Done(Box<State>),
    /// It did not, for this reason.
    Failed(String),
}

/// How a gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How it behaves.
    pub profile: Profile,
    /// Its outside addresses.
    pub outside: Vec<Ipv4Addr>,
    /// Mappings alive.
    pub mappings: usize,
    /// Flows alive.
    pub flows: usize,
    /// The flows themselves, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Vec<Flow>>,
    /// Packets so far: those sent on, and of the others how many were lost for which reason.
    pub packets: BTreeMap<String, u64>,
}

impl Gateway {
    /// Does what a command says.
    pub fn obey(&mut self, now: Duration, command: Command) -> Result<(), WrongGateway> {
        match command {
            Command::State | Command::Table => return Ok(()),
            Command::Close => {
                self.engine.close(now);
                return Ok(());
            }
            Command::Reboot => self.engine.reboot(now),
            Command::Rebind => self.engine.rebind(now),
            Command::Renumber { outside } => self.engine.renumber(now, outside)?,
            Command::Reconfigure { profile } => self.engine.reconfigure(now, profile)?,
        }
        self.fragments = Fragments::default();
        self.held.clear();
        Ok(())
    }

    /// How it is, with every flow if they are wanted.
    pub fn state(&mut self, now: Duration, with_table: bool) -> State {
        State {
            profile: self.engine.profile().clone(),
            outside: self.engine.addresses().outside.clone(),
            mappings: self.engine.mappings(now),
            flows: self.engine.flows(now),
            table: with_table.then(|| self.engine.table(now)),
            packets: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_written() {
        for command in [
            Command::State,
            Command::Table,
            Command::Close,
            Command::Reboot,
            Command::Rebind,
            Command::Renumber { outside: vec![[192, 0, 2, 7].into()] },
            Command::Reconfigure { profile: Profile::default() },
        ] {
            let text = serde_json::to_string(&command).unwrap();
            assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command, "{text}");
        }
        assert_eq!(serde_json::to_string(&Command::Reboot).unwrap(), r#"{"do":"reboot"}"#);
        assert!(serde_json::from_str::<Command>(r#"{"do":"explode"}"#).is_err());
    }
}
