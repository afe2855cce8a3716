//! Metrics for Prometheus, over HTTP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use omerta_mesh_core::{Count, PathKind, Traffic};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::daemon::Daemon;

/// Who does not ask within this time is not answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer requests are asked by nobody.
const MAX_REQUEST: usize = 8 << 10;

/// Metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address is for others to see.
    #[error("metrics are served at loopback addresses only (127.0.0.1:9440, say), not at {0}")]
    Public(SocketAddr),
    /// The system refuses.
    #[error("cannot serve metrics at {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The endpoint.
pub struct Metrics(TcpListener);

impl Metrics {
    /// Listens at a loopback address.
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        if !address.ip().is_loopback() {
            return Err(MetricsError::Public(address));
        }
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|source| MetricsError::Bind { address, source })
    }

    /// Where it is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers for ever, one after the other.
    pub async fn serve(self, daemon: Arc<Daemon>) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Figures(daemon)));
        loop {
            match self.0.accept().await {
                // Who is slow or gone needs no answer.
                Ok((stream, _)) => drop(timeout(PATIENCE, answer(stream, &registry)).await),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection for metrics");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, registry: &Registry) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match request.split(|&byte| byte == b' ').take(2).collect::<Vec<_>>()[..] {
        [b"GET", b"/metrics"] => {
            let mut text = String::new();
            match encode(&mut text, registry) {
                Ok(()) => ("200 OK", text),
                Err(error) => ("500 Internal Server Error", error.to_string()),
            }
        }
        [b"GET", _] => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// What is shown. Read when it is asked for.
struct Figures(Arc<Daemon>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let daemon = &self.0;
        let (counters, peers, sessions) =
            daemon.handle.look(|node| (node.counters().clone(), node.peer_views(), node.sessions() as i64));
        let totals = daemon.counts.totals();
        let (waiting, dropped) = daemon.mailbox.counts();
        let kinds = |traffic: &Traffic| -> [(&'static str, Count); 6] {
            [
                ("stun", traffic.stun),
                ("coordination", traffic.coordination),
                ("probe", traffic.probe),
                ("relay", traffic.relay),
                ("quic", traffic.quic),
                ("other", traffic.other),
            ]
        };
        let directions = [("sent", &counters.sent), ("received", &counters.received)];
        let traffic = |pick: fn(Count) -> u64| {
            directions
                .iter()
                .flat_map(|(direction, traffic)| {
                    kinds(traffic)
                        .map(|(kind, count)| (vec![("direction", *direction), ("kind", kind)], pick(count)))
                })
                .collect::<Vec<_>>()
        };
        let on = |path| peers.iter().filter(|peer| peer.contact && peer.path == path).count() as i64;

        let name = "omerta_mesh_datagrams";
        counter(&mut encoder, name, "UDP datagrams", traffic(|count| count.datagrams))?;
        let name = "omerta_mesh_bytes";
        counter(&mut encoder, name, "Bytes of UDP payload", traffic(|count| count.bytes))?;
        let events = totals.events.iter().map(|(name, count)| (vec![("event", name.as_str())], *count));
        counter(&mut encoder, "omerta_mesh_events", "Events, by their name", events.collect())?;
        let bytes = vec![
            (vec![("direction", "sent")], totals.sent),
            (vec![("direction", "received")], totals.received),
        ];
        counter(&mut encoder, "omerta_mesh_message_bytes", "Bytes of messages that arrived", bytes)?;
        let help = "Messages that nobody took in time";
        counter(&mut encoder, "omerta_mesh_messages_dropped", help, vec![(Vec::new(), dropped)])?;
        let links = vec![(Vec::new(), peers.len() as i64)];
        gauge(&mut encoder, "omerta_mesh_links", "Connected nodes of any kind", links)?;
        let contacts = vec![
            (vec![("path", "direct")], on(PathKind::Direct)),
            (vec![("path", "relay")], on(PathKind::Relay)),
        ];
        gauge(&mut encoder, "omerta_mesh_contacts", "Peers that messages go to, by path", contacts)?;
        let help = "Relay sessions served";
        gauge(&mut encoder, "omerta_mesh_relay_sessions", help, vec![(Vec::new(), sessions)])?;
        let help = "Messages that wait to be taken";
        gauge(&mut encoder, "omerta_mesh_messages_waiting", help, vec![(Vec::new(), waiting as i64)])?;
        let uptime = daemon.started.elapsed().as_secs() as i64;
        gauge(&mut encoder, "omerta_mesh_uptime_seconds", "Since the start", vec![(Vec::new(), uptime)])
    }
}

type Labelled<'a, N> = Vec<(Vec<(&'a str, &'a str)>, N)>;

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Labelled<'_, u64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        let metric = ConstCounter::new(value);
        if labels.is_empty() {
            return metric.encode(family);
        }
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Labelled<'_, i64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        let metric = ConstGauge::new(value);
        if labels.is_empty() {
            return metric.encode(family);
        }
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
