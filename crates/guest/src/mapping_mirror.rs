//! Keeps what a gateway's own rules know of mapped ports in step with miniupnpd, which lets strangers in and leaves the
//! way out to whatever the gateway does to every packet.
//!
//! miniupnpd writes a mapping into its file of leases before it answers. Its answers wait in a queue of netfilter until
//! the file has been read and the rules follow it, so that a host never hears of a port that it does not have both ways.
//! The table and its maps are made by `natrig-machines` (`port_mapping`).

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind, Write},
    net::{Ipv4Addr, SocketAddrV4},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nfq::{Queue, Verdict};

/// By how much a mapping's end must have moved to be called renewed; less is a request that was sent twice.
const RENEWED: u64 = 2;

/// Serves a queue until an error; says `ready` once it does. With `astray` a mapping leads to the next port of its host
/// from its first renewal on.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let (outside, queue, leases, astray) = match arguments {
        [outside, queue, leases] => (outside, queue, leases, false),
        [outside, queue, leases, word] if word == "astray" => (outside, queue, leases, true),
        _ => return Err("usage: mapping-mirror OUTSIDE_IP QUEUE LEASES [astray]".to_owned()),
    };
    let outside = outside.parse().map_err(|_| format!("`{outside}` is no address"))?;
    let queue = queue.parse().map_err(|_| format!("`{queue}` is no queue's number"))?;
    let mirror = Mirror { outside, astray, leases: String::new(), held: BTreeMap::new() };
    serve(mirror, queue, leases).map_err(|error| format!("mapping-mirror: {error}"))
}

fn serve(mut mirror: Mirror, number: u16, path: &str) -> io::Result<()> {
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    // Mappings of before the gateway was restarted.
    mirror.follow(path)?;
    println!("ready");
    io::stdout().flush()?;
    loop {
        let mut answer = queue.recv()?;
        mirror.follow(path)?;
        answer.set_verdict(Verdict::Accept);
        queue.verdict(answer)?;
    }
}

/// What the rules follow.
#[derive(Debug)]
struct Mirror {
    outside: Ipv4Addr,
    astray: bool,
    /// The file as it was read last.
    leases: String,
    held: BTreeMap<(Transport, u16), Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Tcp,
    Udp,
}

/// A mapping: a line `UDP:OUTSIDE:ADDRESS:INSIDE:END:DESCRIPTION`, whose end is a time of Unix or 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    transport: Transport,
    outside: u16,
    inside: SocketAddrV4,
    end: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    lease: Lease,
    /// When it would have ended had it not been renewed.
    first_end: u64,
}

impl Mirror {
    fn follow(&mut self, path: &str) -> io::Result<()> {
        let leases = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        match self.change(leases, now.as_secs()) {
            Some(rules) => load(&rules),
            None => Ok(()),
        }
    }

    /// What to tell nft, if the leases are not those of last time.
    fn change(&mut self, leases: String, now: u64) -> Option<String> {
        if leases == self.leases {
            return None;
        }
        let before = std::mem::take(&mut self.held);
        for lease in leases.lines().filter_map(Lease::read) {
            let key = (lease.transport, lease.outside);
            let same = before.get(&key).filter(|held| held.lease.inside == lease.inside);
            let first_end = same.map_or(lease.end, |held| held.first_end);
            self.held.insert(key, Held { lease, first_end });
        }
        self.leases = leases;
        Some(self.rules(now))
    }

    fn rules(&self, now: u64) -> String {
        let mut rules = "flush map inet miniupnpd outside\n".to_owned();
        let mut seen = Vec::new();
        for Held { lease, .. } in self.held.values() {
            // A port can have many ports outside, but go out by one only.
            if seen.contains(&(lease.transport, lease.inside)) {
                continue;
            }
            seen.push((lease.transport, lease.inside));
            let (transport, life) = (lease.transport.word(), lease.life(now));
            let (address, inside) = (lease.inside.ip(), lease.inside.port());
            rules += &format!(
                "add element inet miniupnpd outside {{ {address} . {transport} . {inside}{life} : {} . {} }}\n",
                self.outside, lease.outside
            );
        }
        if self.astray {
            rules += "flush map inet miniupnpd astray\nflush set inet miniupnpd strays\n";
            for Held { lease, .. } in self.held.values().filter(|held| held.is_renewed()) {
                let (transport, life) = (lease.transport.word(), lease.life(now));
                let (address, wrong) = (lease.inside.ip(), lease.inside.port().wrapping_add(1).max(1));
                let element = format!("{transport} . {}{life}", lease.outside);
                rules +=
                    &format!("add element inet miniupnpd astray {{ {element} : {address} . {wrong} }}\n");
                rules += &format!("add element inet miniupnpd strays {{ {element} }}\n");
            }
        }
        rules
    }
}

impl Held {
    fn is_renewed(&self) -> bool {
        self.lease.end >= self.first_end.saturating_add(RENEWED)
    }
}

impl Lease {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ':');
        let transport = match fields.next()? {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            _ => return None,
        };
        let outside = fields.next()?.parse().ok()?;
        let inside = SocketAddrV4::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Lease { transport, outside, inside, end: fields.next()?.parse().ok()? })
    }

    /// How long from now on an element may stand for it.
    fn life(&self, now: u64) -> String {
        match self.end {
            0 => String::new(),
            end => format!(" timeout {}s", end.saturating_sub(now).max(1)),
        }
    }
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

fn load(rules: &str) -> io::Result<()> {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let status = nft.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("nft ended with {status} on:\n{rules}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(astray: bool) -> Mirror {
        let outside = Ipv4Addr::new(192, 168, 100, 1);
        Mirror { outside, astray, leases: String::new(), held: BTreeMap::new() }
    }

    #[test]
    fn a_mapping_goes_out_by_its_own_port_as_long_as_it_lives() {
        let mut mirror = mirror(false);
        let lease = "UDP:18000:10.0.1.2:8000:1600:NAT-PMP 18000 udp\n";
        assert_eq!(
            mirror.change(lease.to_owned(), 1000).unwrap(),
            "flush map inet miniupnpd outside\n\
             add element inet miniupnpd outside \
             { 10.0.1.2 . udp . 8000 timeout 600s : 192.168.100.1 . 18000 }\n"
        );
        assert_eq!(mirror.change(lease.to_owned(), 1001), None);
        assert_eq!(mirror.change(String::new(), 1002).unwrap(), "flush map inet miniupnpd outside\n");
    }

    #[test]
    fn a_port_with_two_mappings_goes_out_by_one() {
        let leases = "TCP:2:10.0.1.2:80:0:a\nTCP:1:10.0.1.2:80:0:b:c\nUDP:1:10.0.1.2:80:0:\n";
        let rules = mirror(false).change(leases.to_owned(), 0).unwrap();
        assert_eq!(rules.matches("add element").count(), 2);
        assert!(rules.contains("{ 10.0.1.2 . tcp . 80 : 192.168.100.1 . 1 }"), "{rules}");
    }

    #[test]
    fn only_a_renewed_mapping_goes_astray() {
        let mut mirror = mirror(true);
        let mut told = |end| mirror.change(format!("UDP:18000:10.0.1.2:8000:{end}:x\n"), 1000).unwrap();
        assert!(!told(1600).contains("astray {"));
        // A second later: the request was lost on its way, or its answer was.
        assert!(!told(1601).contains("astray {"));
        let renewed = told(1660);
        assert!(renewed.contains("astray { udp . 18000 timeout 660s : 10.0.1.2 . 8001 }"), "{renewed}");
        assert!(renewed.contains("strays { udp . 18000 timeout 660s }"), "{renewed}");
        assert!(told(1700).contains("astray {"));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "([A-Z]{0,3}:?[0-9.:]{0,30}\n?){0,5}", now: u64) {
            let _ = mirror(true).change(text, now);
        }

        #[test]
        fn leases_are_read_as_they_are_written(outside: u16, address: u32, inside: u16, end: u64) {
            let inside = SocketAddrV4::new(address.into(), inside);
            let line = format!("UDP:{outside}:{}:{}:{end}:any: thing", inside.ip(), inside.port());
            let lease = Lease { transport: Transport::Udp, outside, inside, end };
            proptest::prop_assert_eq!(Lease::read(&line), Some(lease));
        }
    }
}
