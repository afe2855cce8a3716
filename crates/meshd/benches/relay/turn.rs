//! A channel of coturn (RFC 8656), from its client to a peer.
//!
//! coturn runs without credentials: channel data bears none in any case.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::load::{Ends, Way, socket};

const PATIENCE: Duration = Duration::from_secs(10);
const COOKIE: u32 = natrig_stun::MAGIC_COOKIE;
const CHANNEL: u16 = 0x4000;

const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;

const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const UDP: u8 = 17;

/// A running server with a channel.
pub struct Coturn {
    child: Child,
    client: UdpSocket,
    peer: UdpSocket,
    server: SocketAddr,
    _folder: TempDir,
}

impl Coturn {
    pub fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let listen = UdpSocket::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
        let child = Command::new("turnserver")
            .args(["-n", "--no-cli", "--no-auth", "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay"])
            .args(["--no-rfc5780", "--allow-loopback-peers", "--relay-threads", "0", "--realm", "bench"])
            .args(["--listening-ip", "127.0.0.1", "--listening-port", &listen.port().to_string()])
            .args(["--relay-ip", "127.0.0.1", "--simple-log", "--log-file", &path("log")])
            .args(["--pidfile", &path("pid"), "--userdb", &path("db")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("turnserver does not start ({error})\nhint: apt-get install --no-install-recommends coturn")
            })?;
        let mut coturn = Self { child, client: socket(), peer: socket(), server: listen, _folder: folder };
        let udp = [UDP, 0, 0, 0];
        coturn.ask(ALLOCATE, &[(REQUESTED_TRANSPORT, &udp)])?;
        let channel = [CHANNEL.to_be_bytes(), [0; 2]].concat();
        let peer = xored(coturn.peer.local_addr().expect("bound"));
        coturn.ask(CHANNEL_BIND, &[(CHANNEL_NUMBER, &channel), (XOR_PEER_ADDRESS, &peer)])?;
        Ok(coturn)
    }

    pub fn way(&self) -> Channel<'_> {
        Channel(self)
    }

    /// Asks until it is answered: the server may have just begun to start.
    fn ask(&mut self, method: u16, attributes: &[(u16, &[u8])]) -> Result<(), String> {
        let transaction: [u8; 12] = rand::random();
        let request = message(method, &transaction, attributes);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            // Refused while nobody listens.
            let _ = self.client.send_to(&request, self.server);
            let again = Instant::now() + Duration::from_millis(50);
            while Instant::now() < again {
                let mut buffer = [0; 2048];
                let Ok(length) = self.client.recv(&mut buffer) else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let answer = &buffer[..length];
                if answer.get(8..20) != Some(&transaction) {
                    continue;
                }
                let kind = answer.first_chunk().map(|kind| u16::from_be_bytes(*kind));
                return match kind == Some(method | SUCCESS) {
                    true => Ok(()),
                    false => Err(format!("turnserver refuses method {method}: {answer:02x?}")),
                };
            }
        }
        match self.child.try_wait() {
            Ok(Some(status)) => Err(format!("turnserver has ended: {status}")),
            _ => Err("turnserver does not answer".to_owned()),
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Channel<'a>(&'a Coturn);

impl Way for Channel<'_> {
    fn name(&self) -> &'static str {
        "coturn"
    }

    fn relay(&self) -> Option<u32> {
        Some(self.0.child.id())
    }

    fn head(&self, size: usize) -> Vec<u8> {
        [CHANNEL.to_be_bytes(), (size as u16).to_be_bytes()].concat()
    }

    fn ends(&self) -> Ends<'_> {
        Ends { sender: &self.0.client, to: self.0.server, receiver: &self.0.peer, skip: 0 }
    }
}

fn message(method: u16, transaction: &[u8; 12], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        // All of ours are multiples of four bytes long.
        body.extend_from_slice(value);
    }
    let mut message = method.to_be_bytes().to_vec();
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(COOKIE.to_be_bytes());
    message.extend(transaction);
    message.extend(body);
    message
}

fn xored(address: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = address.ip() else {
        unreachable!("loopback here is IPv4");
    };
    let port = address.port() ^ (COOKIE >> 16) as u16;
    let ip = u32::from(ip) ^ COOKIE;
    [&[0, 1][..], &port.to_be_bytes(), &ip.to_be_bytes()].concat()
}
