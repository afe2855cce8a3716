//! Interfaces, addresses and routes, over netlink.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    path::{Component, Path},
};

use natrig_agent_proto::{Network, Nic, Route};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};

/// The loopback interface is the first of every network.
const LOOPBACK: u32 = 1;

/// The indices of the machine's NICs, in the machine's order.
pub(crate) fn nics() -> io::Result<Vec<u32>> {
    let mut indices = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let path = entry?.path();
        // What has no device behind it is no NIC.
        if path.join("device").exists() {
            let index = fs::read_to_string(path.join("ifindex"))?;
            indices.push(index.trim().parse().map_err(io::Error::other)?);
        }
    }
    indices.sort_unstable();
    Ok(indices)
}

/// What an interface is called by now.
pub(crate) fn name_of(index: u32) -> io::Result<String> {
    for entry in fs::read_dir("/sys/class/net")? {
        let path = entry?.path();
        if fs::read_to_string(path.join("ifindex"))?.trim() == index.to_string() {
            return Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    Err(io::Error::other("there is no such interface"))
}

pub(crate) fn loopback_up() -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add("lo".to_owned(), up(LOOPBACK), 0);
    batch.send().map_err(io::Error::other)
}

/// Sets up what `network` says on the machine's NICs.
pub(crate) fn set_up(network: &Network, nics: &[u32]) -> Result<(), String> {
    if network.nics.len() > nics.len() {
        return Err(format!("{} NICs to set up, where the machine has {}", network.nics.len(), nics.len()));
    }
    if network.forward {
        write_setting("net/ipv4/ip_forward", "1")?;
    }
    let mut batch = Batch::default();
    for (nic, &index) in network.nics.iter().zip(nics) {
        nic_messages(&mut batch, nic, index);
    }
    for route in &network.routes {
        batch.add(format!("the route to {}/{}", route.to.0, route.to.1), add_route(route), CREATE);
    }
    batch.send()?;
    for (name, value) in &network.sysctls {
        write_setting(name, value)?;
    }
    Ok(())
}

const CREATE: u16 = NLM_F_CREATE | NLM_F_REPLACE;

fn nic_messages(batch: &mut Batch, nic: &Nic, index: u32) {
    // One message: the kernel sets the hardware address, then the name, then brings the interface up.
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes.push(LinkAttribute::Address(nic.mac.to_vec()));
    link.attributes.push(LinkAttribute::IfName(nic.name.clone()));
    batch.add(format!("the interface {}", nic.name), RouteNetlinkMessage::SetLink(link), 0);
    for &(address, prefix) in &nic.addresses {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
        if prefix < 31 {
            let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let broadcast = Ipv4Addr::from_bits(address.to_bits() | hosts);
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        batch.add(
            format!("the address {address}/{prefix} of {}", nic.name),
            RouteNetlinkMessage::NewAddress(message),
            CREATE,
        );
    }
}

fn up(index: u32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(link)
}

fn add_route(route: &Route) -> RouteNetlinkMessage {
    let (to, prefix) = route.to;
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if prefix > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(to)));
    }
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(route.via)));
    RouteNetlinkMessage::NewRoute(message)
}

fn write_setting(name: &str, value: &str) -> Result<(), String> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(format!("{name:?} is no name under /proc/sys, such as net/ipv4/ip_forward"));
    }
    fs::write(Path::new("/proc/sys").join(name), value)
        .map_err(|error| format!("cannot set {name} to {value}: {error}"))
}

/// Requests to the kernel that go in one piece and in order.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    subjects: Vec<String>,
}

impl Batch {
    fn add(&mut self, subject: String, message: RouteNetlinkMessage, flags: u16) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = u32::try_from(self.subjects.len()).unwrap_or(u32::MAX);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = self.bytes.len();
        // Messages begin at multiples of four bytes.
        self.bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        if let Some(place) = self.bytes.get_mut(start..start + message.buffer_len()) {
            message.serialize(place);
        }
        self.subjects.push(subject);
    }

    /// Sends all and waits for each one's acknowledgement; the first refusal is the error.
    fn send(self) -> Result<(), String> {
        if self.subjects.is_empty() {
            return Ok(());
        }
        let failed = |error: io::Error| format!("netlink: {error}");
        let socket = self.exchange().map_err(failed)?;
        let mut refused = None;
        let mut missing = self.subjects.len();
        let mut buffer = vec![0; 16 << 10];
        while missing > 0 {
            let (_, count) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())
                .map_err(|error| failed(error.into()))?;
            let mut rest = buffer.get(..count).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| failed(io::Error::other(error.to_string())))?;
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
                let NetlinkPayload::Error(answer) = message.payload else {
                    continue;
                };
                missing -= 1;
                if let Some(code) = answer.code
                    && refused.is_none()
                {
                    let number = usize::try_from(message.header.sequence_number).unwrap_or(usize::MAX);
                    let subject = self.subjects.get(number).map_or("a request", String::as_str);
                    let error = io::Error::from_raw_os_error(code.get().saturating_neg());
                    refused = Some(format!("{subject}: {error}"));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn exchange(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // Protocol 0 of this family is the one for interfaces and routes.
            None,
        )?;
        rustix::net::send(&socket, &self.bytes, SendFlags::empty())?;
        Ok(socket)
    }
}
