//! A gateway that nobody's lab runs: whoever boots the exported image says with the kernel's parameters what it is.
//!
//! | parameter | |
//! |---|---|
//! | `natrig.nat=port-restrict` | the profile |
//! | `natrig.wan=203.0.113.2/24` | its outside addresses, with commas between them |
//! | `natrig.via=203.0.113.1` | the router beyond |
//! | `natrig.lan=192.168.1.1/24` | its inside address |
//! | `natrig.netem=delay:50ms,loss:1%` | what `tc` does to what leaves by the WAN |

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use natrig_agent_proto::{Network, Nic, Route, standalone::PROFILES};
use natrig_nat::{
    Profile,
    bytes::control::{Config, Interface},
    engine::{Addresses, Prefix},
    ruleset::Ruleset,
};
use rustix::process::{WaitOptions, wait};

use crate::{network, process::PATH};

const RULES: &str = "/run/natrig.nft";
const MODEL: &str = "/run/natrig.model.json";

/// Its shell is for who sits at the console.
const SHELL: [&str; 2] = ["sh", "-i"];

/// What a gateway is told to be.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    nat: String,
    wan: Vec<(Ipv4Addr, u8)>,
    via: Option<Ipv4Addr>,
    lan: (Ipv4Addr, u8),
    netem: Option<String>,
}

/// Whether this image stands alone.
pub(crate) fn is_meant() -> bool {
    profiles().exists()
}

fn profiles() -> PathBuf {
    Path::new("/").join(PROFILES)
}

/// Makes this machine the gateway that it is told to be, and lends its console a shell. Only an error ends it.
pub(crate) fn run(nics: &[u32]) -> Result<(), String> {
    let line = fs::read_to_string("/proc/cmdline").map_err(|error| format!("/proc/cmdline: {error}"))?;
    let told = Told::read(&line)?;
    let profiles = fs::read(profiles()).map_err(|error| format!("{PROFILES}: {error}"))?;
    let mut profiles: BTreeMap<String, Profile> =
        serde_json::from_slice(&profiles).map_err(|error| format!("{PROFILES}: {error}"))?;
    let Some(profile) = profiles.remove(&told.nat) else {
        let known: Vec<String> = profiles.into_keys().collect();
        return Err(format!("natrig.nat={}: known are {}", told.nat, known.join(", ")));
    };
    network::set_up(&told.network(nics)?, nics)?;
    if let Some(netem) = &told.netem {
        let words = netem.split([':', ',']);
        run_program(&["tc", "qdisc", "add", "dev", "wan", "root", "netem"], words)?;
    }
    let _model = match profile.kernel_can() {
        Ok(()) => load(&profile, &told).map(|()| None)?,
        Err(_) => Some(model(profile, &told)?),
    };
    let wan: Vec<String> = told.wan.iter().map(|(address, length)| format!("{address}/{length}")).collect();
    println!("natrig: {} between wan {} and lan {}/{}", told.nat, wan.join(", "), told.lan.0, told.lan.1);
    loop {
        let mut shell =
            program(SHELL[0]).arg(SHELL[1]).spawn().map_err(|error| format!("{SHELL:?}: {error}"))?;
        // Children of others end here, too.
        let own = i32::try_from(shell.id()).unwrap_or_default();
        while let Ok(Some((pid, _))) = wait(WaitOptions::empty()) {
            if pid.as_raw_nonzero().get() == own {
                break;
            }
        }
        let _ = shell.try_wait();
    }
}

fn load(profile: &Profile, told: &Told) -> Result<(), String> {
    let rules = Ruleset::compile(profile, &told.addresses()?)
        .map_err(|lacks| lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    fs::write(RULES, rules.text()).map_err(|error| format!("{RULES}: {error}"))?;
    run_program(&["nft", "-f", RULES], [])?;
    for (name, value) in rules.sysctls() {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Starts natrig's own engine, for what the kernel's rules cannot be.
fn model(profile: Profile, told: &Told) -> Result<Child, String> {
    let beyond = told.via.map(|via| Ok((prefix((Ipv4Addr::UNSPECIFIED, 0))?, via)));
    let side = |name: &str, addresses: &[(Ipv4Addr, u8)], routes| {
        let networks = addresses.iter().map(|own| prefix(*own)).collect::<Result<_, String>>()?;
        Ok::<_, String>(Interface { name: name.to_owned(), networks, routes })
    };
    let Addresses { outside, inside } = told.addresses()?;
    let config = Config {
        profile,
        outside,
        inside,
        address: told.lan.0,
        wan: side("wan", &told.wan, beyond.into_iter().collect::<Result<_, String>>()?)?,
        lan: side("lan", &[told.lan], Vec::new())?,
        seed: rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_nsec.unsigned_abs(),
    };
    let text = serde_json::to_vec(&config).map_err(|error| error.to_string())?;
    fs::write(MODEL, text).map_err(|error| format!("{MODEL}: {error}"))?;
    // It serves as long as its input is open.
    let failed = |error| format!("nat-model: {error}");
    program("nat-model").arg(MODEL).stdin(Stdio::piped()).spawn().map_err(failed)
}

/// A program as the kernel starts none: with a path, and a home.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", PATH).env("HOME", "/root").env("TERM", "linux");
    command
}

fn run_program<'a>(begin: &[&'a str], more: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let words: Vec<&str> = begin.iter().copied().chain(more).collect();
    let said = |why: &str| format!("{}: {why}", words.join(" "));
    let (name, arguments) = words.split_first().ok_or("no program")?;
    let output = program(name).args(arguments).output().map_err(|error| said(&error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(said(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Told {
    fn read(line: &str) -> Result<Told, String> {
        let find = |name: &str| {
            line.split_whitespace()
                .rev()
                .find_map(|word| word.strip_prefix("natrig.")?.strip_prefix(name)?.strip_prefix('='))
        };
        let with_length = |name: &str, text: &str| -> Result<(Ipv4Addr, u8), String> {
            let wrong =
                || format!("natrig.{name}={text}: an address and a length are wanted, as in 192.168.1.1/24");
            let (address, length) = text.split_once('/').ok_or_else(wrong)?;
            let length = length.parse().ok().filter(|length| *length <= 32).ok_or_else(wrong)?;
            Ok((address.parse().map_err(|_| wrong())?, length))
        };
        let wan = find("wan").unwrap_or("203.0.113.2/24");
        let lan = find("lan").unwrap_or("192.168.1.1/24");
        let via = find("via").map(|text| text.parse().map_err(|_| format!("natrig.via={text}: no address")));
        Ok(Told {
            nat: find("nat").unwrap_or("port-restrict").to_owned(),
            wan: wan.split(',').map(|one| with_length("wan", one)).collect::<Result<_, _>>()?,
            via: via.transpose()?,
            lan: with_length("lan", lan)?,
            netem: find("netem").map(str::to_owned),
        })
    }

    fn addresses(&self) -> Result<Addresses, String> {
        Ok(Addresses {
            outside: self.wan.iter().map(|(address, _)| *address).collect(),
            inside: prefix(self.lan)?,
        })
    }

    fn network(&self, nics: &[u32]) -> Result<Network, String> {
        let [wan, lan] = nics.get(..2).and_then(|two| <[u32; 2]>::try_from(two).ok()).ok_or_else(|| {
            format!("{} network interfaces, where a gateway has two: the first is the WAN", nics.len())
        })?;
        let nic = |name: &str, index, addresses| {
            Ok::<_, String>(Nic { name: name.to_owned(), mac: hardware_address(index)?, addresses })
        };
        Ok(Network {
            nics: vec![nic("wan", wan, self.wan.clone())?, nic("lan", lan, vec![self.lan])?],
            routes: self.via.map(|via| Route { to: (Ipv4Addr::UNSPECIFIED, 0), via }).into_iter().collect(),
            forward: true,
            sysctls: Vec::new(),
        })
    }
}

fn prefix((address, length): (Ipv4Addr, u8)) -> Result<Prefix, String> {
    Prefix::new(address, length).map_err(|error| error.to_string())
}

fn hardware_address(index: u32) -> Result<[u8; 6], String> {
    let name = network::name_of(index).map_err(|error| format!("NIC {index}: {error}"))?;
    let text = fs::read_to_string(Path::new("/sys/class/net").join(&name).join("address"))
        .map_err(|error| format!("{name}: {error}"))?;
    let bytes: Result<Vec<u8>, _> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
    bytes.try_into().map_err(|_| format!("{name} has no Ethernet address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_parameters_say_what_it_is() {
        let told = Told::read(
            "quiet natrig.nat=symmetric natrig.wan=198.51.100.7/24,198.51.100.8/24 natrig.via=198.51.100.1 natrig.lan=10.0.0.1/8 natrig.netem=delay:50ms\n",
        );
        let told = told.unwrap();
        assert_eq!((told.nat.as_str(), told.wan.len()), ("symmetric", 2));
        assert_eq!((told.lan, told.netem.as_deref()), ((Ipv4Addr::new(10, 0, 0, 1), 8), Some("delay:50ms")));
        let usual = Told::read("quiet").unwrap();
        assert_eq!((usual.nat.as_str(), usual.via), ("port-restrict", None));
    }

    #[test]
    fn parameters_that_mean_nothing_are_told() {
        for (line, reason) in [
            ("natrig.wan=203.0.113.2", "natrig.wan=203.0.113.2: an address and a length"),
            ("natrig.lan=192.168.1.1/33", "natrig.lan"),
            ("natrig.via=here", "natrig.via=here"),
        ] {
            let error = Told::read(line).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let error = Told::read("").unwrap().network(&[2]).unwrap_err();
        assert!(error.contains("1 network interfaces"), "{error}");
    }
}
