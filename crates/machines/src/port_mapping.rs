//! Port mapping: miniupnpd on a gateway, beside the gateway's own rules.
//!
//! miniupnpd fills three chains of its own table. Others in that table lead to them, and keep to what a mapping is:
//! strangers get in by it whatever the gateway's filter, the host goes out by it whatever the gateway's choice of ports,
//! and what hosts and miniupnpd say to each other leaves no trace in conntrack. The gateway's own rules get one more, at the
//! end of `forward`: what miniupnpd accepted passes.
//!
//! miniupnpd takes no address for public that is reserved, which all of a lab's are, unless STUN tells it to. So it asks
//! a STUN server that runs on the gateway itself until it has heard.
//!
//! A broken gateway is the same one with a rule or a file that is missing, or with `mapping-mirror` (of the guest)
//! misleading. Each is read back.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use natrig_agent_proto::{Start, Stream};
use natrig_lab::Place;
use natrig_scenario::{MappingFault, MappingProtocol, PortMapping, Scenario};
use natrig_vmm::{AgentClient, Process, ProcessEvent};

use crate::{Lab, Member, Trouble, gateway::expect, lab::lock};

/// miniupnpd's table, of the family `inet`; the guest's `mapping-mirror` knows it, too.
const TABLE: &str = "miniupnpd";

const RULES: &str = "/run/port-mapping.nft";
const CONFIG: &str = "/run/miniupnpd.conf";
const LEASES: &str = "/run/miniupnpd.leases";

/// Where answers wait for `mapping-mirror`.
const QUEUE: u16 = 5351;

/// Where UPnP's descriptions and commands are served.
const HTTP: u16 = 5000;

/// Set on what miniupnpd accepted, until the gateway's own rules have seen it.
const ACCEPTED: u32 = 0x4e52;

/// How long a server may take to come up on a busy host.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of leases that are read.
const MANY_LEASES: u64 = 1 << 20;

const KILL: i32 = 9;

/// What maps ports in a gateway. Dropping this does not end it; [`stop`] does, and so does the machine's end.
#[derive(Debug)]
pub struct PortMapper {
    daemon: Daemon,
    mirror: Option<Daemon>,
}

/// What a scenario says of a gateway's port mapping.
pub fn of<'a>(scenario: &'a Scenario, place: &Place) -> Option<&'a PortMapping> {
    // A carrier's gateway is not asked: requests go to the next gateway only.
    let next = place.machine == place.site.gateway();
    scenario.port_mapping.get(&place.site).filter(|_| next)
}

/// Starts what a scenario says of a gateway's port mapping, after the gateway's rules were loaded, with the leases that
/// it [kept]; and reads back that it is as it should be.
pub fn load(lab: &Lab, scenario: &Scenario, place: &Place, leases: &[u8]) -> Result<(), Trouble> {
    let member = lab.member(place.machine)?;
    stop(member)?;
    let Some(mapping) = of(scenario, place) else {
        return Ok(());
    };
    let agent = member.agent();
    agent.write_file(RULES, 0o644, rules(mapping, place).into())?;
    agent.write_file(CONFIG, 0o644, config(mapping, place)?.into())?;
    agent.write_file(LEASES, 0o644, leases.into())?;
    expect(agent, &["sh", "-c", &format!("nft -f {RULES} && {{ {}; }}", let_pass())])?;
    let outside = outside(place)?;
    let mirror = match mapping.fault {
        Some(MappingFault::Dead) => None,
        fault => {
            let (outside, queue) = (outside.to_string(), QUEUE.to_string());
            let mut argv = vec!["mapping-mirror", &outside, &queue, LEASES];
            argv.extend((fault == Some(MappingFault::WrongPortAfterRenewal)).then_some("astray"));
            Some(Daemon::start(agent, &argv, &["ready"])?)
        }
    };
    let stun = [format!("{outside}:3478"), "127.0.0.1:3479".to_owned()];
    let stun = Daemon::start(agent, &["stun-server", &stun[0], &stun[1]], &["ready"])?;
    let daemon = Daemon::start(agent, &["miniupnpd", "-d", "-f", CONFIG], &ready(mapping))?;
    stun.process.signal(KILL)?;
    *lock(&member.port_mapper) = Some(PortMapper { daemon, mirror });
    let now = expect(agent, &["date", "+%s"])?.stdout;
    let now = String::from_utf8_lossy(&now).trim().parse().unwrap_or(u64::MAX);
    let reloaded = read_back(agent, mapping)?;
    match lost(&String::from_utf8_lossy(leases), &String::from_utf8_lossy(&reloaded), now) {
        None => Ok(()),
        Some(lease) => Err(Trouble::lab(format!("a lease was not loaded again: {lease}"))),
    }
}

/// Ends a gateway's port mapping, if there is any; its rules stay.
pub fn stop(member: &Member) -> Result<(), Trouble> {
    let Some(mapper) = lock(&member.port_mapper).take() else {
        return Ok(());
    };
    for mut daemon in [Some(mapper.daemon), mapper.mirror].into_iter().flatten() {
        daemon.end()?;
    }
    Ok(())
}

/// Why a gateway's port mapping starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The gateway does.
    Reboot,
    /// Its rules were replaced, or its address was.
    Rules,
}

/// The leases that a gateway will still know after a restart; ask before it. None without port mapping.
pub fn kept(lab: &Lab, scenario: &Scenario, place: &Place, restart: Restart) -> Result<Vec<u8>, Trouble> {
    match of(scenario, place).map(|mapping| mapping.fault) {
        None => Ok(Vec::new()),
        Some(Some(MappingFault::LostAtReboot)) if restart == Restart::Reboot => Ok(Vec::new()),
        Some(_) => leases(lab.agent(place.machine)?),
    }
}

/// Writes what the servers said, and the mappings, beside the evidence; reads back that they are as they were to be.
/// Gives the names of the files.
pub fn gather(lab: &Lab, scenario: &Scenario, place: &Place, folder: &Path) -> Result<Vec<String>, Trouble> {
    let Some(mapping) = of(scenario, place) else {
        return Ok(Vec::new());
    };
    let member = lab.member(place.machine)?;
    let mut mapper = lock(&member.port_mapper);
    let mapper = mapper.as_mut().ok_or_else(|| Trouble::lab("no server for mappings runs there"))?;
    let logs = folder.join("logs");
    fs::create_dir_all(&logs)?;
    let mut ended = None;
    for (name, daemon) in
        [("miniupnpd", Some(&mut mapper.daemon)), ("mapping-mirror", mapper.mirror.as_mut())]
    {
        let Some(daemon) = daemon else { continue };
        let end = daemon.drain();
        fs::write(logs.join(format!("{}.{name}.log", place.machine)), &daemon.said)?;
        ended = ended.or(end.map(|end| format!("{name} {end}")));
    }
    if let Some(end) = ended {
        return Err(Trouble::lab(end).hint("see its log"));
    }
    let file = format!("{}.leases", place.machine);
    fs::write(folder.join(&file), read_back(member.agent(), mapping)?)?;
    Ok(vec![file])
}

/// A listing of all rules without miniupnpd's table, which changes with every mapping.
pub fn without(listing: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    let head = format!("table inet {TABLE} {{");
    for line in listing.lines() {
        inside |= line == head;
        if !inside {
            text.push_str(line);
            text.push('\n');
        }
        inside &= line != "}";
    }
    text
}

fn leases(agent: &AgentClient) -> Result<Vec<u8>, Trouble> {
    // It is not there while nothing is mapped.
    let script = format!("[ ! -e {LEASES} ] || cat {LEASES}");
    let leases = expect(agent, &["sh", "-c", &script])?.stdout;
    match u64::try_from(leases.len()) {
        Ok(length) if length <= MANY_LEASES => Ok(leases),
        _ => Err(Trouble::lab("there are more leases than can be read")),
    }
}

/// Looks that what was to be there is, and what was to be missing is not; gives the leases.
fn read_back(agent: &AgentClient, mapping: &PortMapping) -> Result<Vec<u8>, Trouble> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let before = leases(agent)?;
        let listing = expect(agent, &["nft", "list", "table", "inet", TABLE])?;
        // Hosts may be asking.
        if before == leases(agent)? {
            let listing = String::from_utf8_lossy(&listing.stdout);
            return found(mapping, &before, &listing).map(|()| before).map_err(Trouble::lab);
        }
    }
    Err(Trouble::lab("the leases change all the time"))
}

/// A lease of before that should have lived on and did not.
fn lost<'a>(before: &'a str, after: &str, now: u64) -> Option<&'a str> {
    // Up to its end, a lease is what it was: protocol, port outside, address, port inside.
    fn parts(lease: &str) -> Option<(Vec<&str>, u64)> {
        let mut fields = lease.splitn(6, ':');
        let whom = fields.by_ref().take(4).collect();
        Some((whom, fields.next()?.parse().ok()?))
    }
    before.lines().find(|lease| {
        let Some((whom, end)) = parts(lease) else { return false };
        let lives = end == 0 || end > now;
        lives && !after.lines().filter_map(parts).any(|(other, _)| other == whom)
    })
}

fn found(mapping: &PortMapping, leases: &[u8], listing: &str) -> Result<(), String> {
    let alive = mapping.fault != Some(MappingFault::Dead);
    if listing.contains("jump prerouting_miniupnpd") != alive {
        let state = if alive { "leads nowhere" } else { "leads somewhere" };
        return Err(format!("miniupnpd's chain of mappings {state}"));
    }
    let mapped = section(listing, "chain prerouting_miniupnpd {")
        .ok_or("miniupnpd has no chain of mappings")?
        .matches("dnat ip to")
        .count();
    let leased = String::from_utf8_lossy(leases).lines().filter(|line| line.contains(':')).count();
    if mapped != leased {
        return Err(format!("{leased} ports are leased and {mapped} mapped"));
    }
    Ok(())
}

/// The part of a listing after a line, up to the brace that ends it.
fn section<'a>(listing: &'a str, head: &str) -> Option<&'a str> {
    let (_, rest) = listing.split_once(head)?;
    rest.split_once("\n\t}").map(|(section, _)| section)
}

/// What miniupnpd says when it is ready.
fn ready(mapping: &PortMapping) -> Vec<&'static str> {
    let mut ready = vec!["Port forwarding is now enabled"];
    if mapping.speaks(MappingProtocol::Upnp) {
        ready.push("HTTP listening on port");
    }
    if by_datagram(mapping) {
        ready.push("Listening for NAT-PMP/PCP traffic");
    }
    ready
}

/// NAT-PMP and PCP are one server's.
fn by_datagram(mapping: &PortMapping) -> bool {
    mapping.speaks(MappingProtocol::NatPmp) || mapping.speaks(MappingProtocol::Pcp)
}

fn outside(place: &Place) -> Result<std::net::Ipv4Addr, Trouble> {
    let first = place.addresses.outside.first();
    first.copied().ok_or_else(|| Trouble::lab(format!("{} has no address outside", place.machine)))
}

fn config(mapping: &PortMapping, place: &Place) -> Result<String, Trouble> {
    let outside = outside(place)?;
    let word = |yes| if yes { "yes" } else { "no" };
    let (upnp, datagrams) = (word(mapping.speaks(MappingProtocol::Upnp)), word(by_datagram(mapping)));
    let number = place.site.number();
    Ok(format!(
        "ext_ifname=wan
ext_perform_stun=yes
ext_stun_host={outside}
ext_stun_port=3478
listening_ip=lan
http_port={HTTP}
ipv6_disable=yes
enable_natpmp={datagrams}
enable_upnp={upnp}
upnp_table_name={TABLE}
upnp_nat_table_name={TABLE}
lease_file={LEASES}
secure_mode=yes
uuid=6e617472-6967-4000-8000-{number:012}
"
    ))
}

/// Has the gateway's own rules let pass what miniupnpd accepted, once. At the end: a gateway that passes no UDP at all
/// goes on to pass none.
fn let_pass() -> String {
    let mark = format!("meta mark {ACCEPTED:#010x}");
    format!(
        "nft list chain ip natrig forward | grep -q '{mark}' \
         || nft add rule ip natrig forward {mark} meta mark set 0 accept"
    )
}

/// miniupnpd's table.
fn rules(mapping: &PortMapping, place: &Place) -> String {
    let inside = place.inside;
    let only = match (mapping.speaks(MappingProtocol::NatPmp), mapping.speaks(MappingProtocol::Pcp)) {
        // Their versions tell them apart.
        (true, false) => "        iifname \"lan\" udp dport 5351 @th,64,8 != 0 drop\n",
        (false, true) => "        iifname \"lan\" udp dport 5351 @th,64,8 0 drop\n",
        _ => "",
    };
    let mut text = format!(
        r#"table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    # miniupnpd fills these
    chain prerouting_miniupnpd {{
    }}
    chain postrouting_miniupnpd {{
    }}
    chain miniupnpd {{
    }}
    # hosts ask, and nobody else
    chain asked {{
        type filter hook input priority filter - 10; policy accept;
        iifname "wan" udp dport {{ 1900, 5351 }} drop
        iifname "wan" tcp dport {HTTP} drop
{only}    }}
    chain untracked_in {{
        type filter hook prerouting priority raw; policy accept;
        iifname "lan" ip daddr {{ {inside}, 239.255.255.250 }} udp dport {{ 1900, 5351 }} notrack
        iifname "lan" ip daddr {inside} tcp dport {HTTP} notrack
    }}
    chain untracked_out {{
        type filter hook output priority raw; policy accept;
        oifname "lan" udp sport {{ 1900, 5351 }} notrack
        oifname "lan" ip daddr 224.0.0.0/4 notrack
        oifname "lan" tcp sport {HTTP} notrack
    }}
"#
    );
    if mapping.fault != Some(MappingFault::Dead) {
        alive(mapping.fault == Some(MappingFault::WrongPortAfterRenewal), &mut text);
    }
    text.push_str("}\n");
    text
}

/// What makes mappings work.
fn alive(astray: bool, text: &mut String) {
    let (sets, misled, accepted) = match astray {
        true => (
            r#"    # outside ports, and the wrong endpoints inside that they lead to
    map astray {
        type inet_proto . inet_service : ipv4_addr . inet_service
        flags timeout
    }
    set strays {
        type inet_proto . inet_service
        flags timeout
    }
"#,
            "        iifname \"wan\" meta nfproto ipv4 dnat ip to meta l4proto . th dport map @astray\n",
            // Only after a protocol's name does nft know what a port of conntrack is.
            r#"        meta l4proto udp meta l4proto . ct original proto-dst @strays accept
        meta l4proto tcp meta l4proto . ct original proto-dst @strays accept
"#,
        ),
        false => ("", "", ""),
    };
    let _ = write!(
        text,
        r#"    # mapped endpoints inside, and those outside that they go out by
    map outside {{
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        flags timeout
    }}
{sets}    chain prerouting {{
        type nat hook prerouting priority dstnat - 10; policy accept;
{misled}        iifname "wan" jump prerouting_miniupnpd
    }}
    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        iifname != "wan" return
        ct status & dnat == 0 return
        meta mark set {ACCEPTED:#x}
        jump miniupnpd
{accepted}        meta mark set 0
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat - 10; policy accept;
        oifname "wan" meta nfproto ipv4 snat ip to ip saddr . meta l4proto . th sport map @outside
        oifname "wan" jump postrouting_miniupnpd
    }}
    # until the map above follows
    chain answers {{
        type filter hook output priority filter; policy accept;
        oifname "lan" udp sport 5351 queue num {QUEUE}
        oifname "lan" tcp sport {HTTP} queue num {QUEUE}
    }}
"#
    );
}

/// A program in a gateway that runs until it is ended.
#[derive(Debug)]
struct Daemon {
    name: String,
    process: Process,
    events: Receiver<ProcessEvent>,
    said: Vec<u8>,
}

impl Daemon {
    /// Starts it and waits until it has said all of this.
    fn start(agent: &AgentClient, argv: &[&str], ready: &[&str]) -> Result<Self, Trouble> {
        let name = argv.first().copied().unwrap_or_default().to_owned();
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let (process, events) = agent.start(Start { argv, ..Start::default() })?;
        let mut daemon = Daemon { name, process, events, said: Vec::new() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = String::from_utf8_lossy(&daemon.said);
            if ready.iter().all(|words| said.contains(words)) {
                return Ok(daemon);
            }
            if let Some(end) = daemon.next(deadline) {
                return Err(daemon.trouble(&end));
            }
        }
    }

    /// Ends it and waits until it has.
    fn end(&mut self) -> Result<(), Trouble> {
        self.process.signal(KILL)?;
        let deadline = Instant::now() + PATIENCE;
        while self.next(deadline).is_none() {}
        if Instant::now() >= deadline { Err(self.trouble("did not end in time")) } else { Ok(()) }
    }

    /// Takes what it said since; gives how it ended, if it has.
    fn drain(&mut self) -> Option<String> {
        while let Ok(event) = self.events.try_recv() {
            if let Some(end) = self.take(event) {
                return Some(end);
            }
        }
        None
    }

    /// Waits for what it says next; gives why there is nothing more to wait for.
    fn next(&mut self, deadline: Instant) -> Option<String> {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => self.take(event),
            Err(_) => Some("did not come up in time".to_owned()),
        }
    }

    fn take(&mut self, event: ProcessEvent) -> Option<String> {
        match event {
            ProcessEvent::Output { stream: Stream::Out | Stream::Err, data, .. } => {
                self.said.extend(data);
                None
            }
            ProcessEvent::Exited { status, .. } => Some(format!("ended with {status}")),
            ProcessEvent::Lost { reason, .. } => Some(format!("was lost: {reason}")),
        }
    }

    fn trouble(&self, what: &str) -> Trouble {
        /// The last lines say why.
        const TAIL: usize = 12;
        let said = String::from_utf8_lossy(&self.said);
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL));
        Trouble::lab(format!("{} {what}", self.name)).lines(tail.map(|&line| line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(fault: Option<MappingFault>) -> PortMapping {
        PortMapping { protocols: MappingProtocol::ALL.into(), fault }
    }

    #[test]
    fn only_miniupnpds_own_table_is_left_out_of_a_comparison() {
        let own = "table ip natrig {\n\tchain input {\n\t}\n}\n";
        let listing = format!("{own}table inet {TABLE} {{\n\tchain miniupnpd {{\n\t}}\n}}\n");
        assert_eq!(without(&listing), own);
        assert_eq!(without(own), own);
        for strange in ["table ip miniupnpd {\n}\n", "table inet miniupnpd2 {\n}\n"] {
            let listing = format!("{listing}{strange}");
            assert_eq!(without(&listing), format!("{own}{strange}"));
        }
    }

    #[test]
    fn a_lease_that_should_have_lived_on_is_missed() {
        let before = "UDP:1:10.0.1.2:80:0:for ever\nUDP:2:10.0.1.2:81:100:a\nTCP:2:10.0.1.2:81:200:b\n";
        let moved = "TCP:2:10.0.1.2:81:201:b\nUDP:1:10.0.1.2:80:0:for ever\n";
        assert_eq!(lost(before, moved, 100), None);
        assert_eq!(lost(before, moved, 99), Some("UDP:2:10.0.1.2:81:100:a"));
        assert_eq!(lost(before, "UDP:1:10.0.1.2:80:0:x\n", 150), Some("TCP:2:10.0.1.2:81:200:b"));
        assert_eq!(lost("", "", 0), None);
    }

    #[test]
    fn what_did_not_take_is_told() {
        let listing = |jump: &str, rules: &str| {
            format!(
                "table inet {TABLE} {{\n\tchain prerouting_miniupnpd {{\n{rules}\t}}\n\n\tchain prerouting {{\n{jump}\t}}\n}}\n"
            )
        };
        let jump = "\t\tiifname \"wan\" jump prerouting_miniupnpd\n";
        let rule = "\t\tiif \"wan\" @nh,72,8 0x11 th dport 18000 dnat ip to 10.0.1.2:8000\n";
        let lease = b"UDP:18000:10.0.1.2:8000:0:x\n";
        let (alive, dead) = (mapping(None), mapping(Some(MappingFault::Dead)));
        assert_eq!(found(&alive, lease, &listing(jump, rule)), Ok(()));
        assert_eq!(found(&dead, lease, &listing("", rule)), Ok(()));
        for (mapping, leases, listing) in [
            (&alive, &lease[..], listing("", rule)),
            (&dead, lease, listing(jump, rule)),
            (&alive, lease, listing(jump, "")),
            (&alive, b"", listing(jump, rule)),
            (&alive, b"", jump.to_owned()),
        ] {
            assert!(found(mapping, leases, &listing).is_err(), "{mapping:?} {leases:?}\n{listing}");
        }
    }
}
