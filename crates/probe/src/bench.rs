//! What the steps measure with: sockets, requests that go out together, time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use natrig_stun::{ChangeRequest, Class, Message, TransactionId};

use crate::{Action, Expected, Failed, Plan, SocketId};

/// The first wait while nothing is known of the way; once it is, several of its round trips, but not less than [`SOONEST`]
/// (RFC 8489 section 6.2.1). It doubles up to [`SLOWEST`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const SOONEST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(4);
const TRIPS: u32 = 8;
/// An answer that was under way for longer is of a gateway that may take its time.
const SLOW: Duration = Duration::from_millis(200);
/// How long what needs an answer is sent again.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest that is waited for an answer that was overtaken by an allowed one.
const OVERTAKEN: Duration = Duration::from_secs(10);

/// A request, and where its answer belongs.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub socket: SocketId,
    pub to: SocketAddr,
    change: ChangeRequest,
    port: Option<u16>,
    /// Who should get the answer, or, where it is turned back, the request itself; none if nobody should.
    owner: Option<SocketId>,
    /// Whether it is waited for.
    needed: bool,
    /// Whether nobody else may get it; otherwise it is not known beforehand whose endpoint it will come to.
    aimed: bool,
}

impl Request {
    /// Asks for an answer from the address that is asked.
    pub fn plain(socket: SocketId, to: SocketAddr) -> Self {
        let change = ChangeRequest::default();
        Request { socket, to, change, port: None, owner: Some(socket), needed: true, aimed: true }
    }

    /// Asks for an answer from elsewhere, which may be filtered.
    pub fn stranger(socket: SocketId, to: SocketAddr, change: ChangeRequest) -> Self {
        Request { change, ..Request::plain(socket, to) }.optional()
    }

    /// Has the answer sent to another port of the same outside address, that of `owner`.
    pub fn answered_at(self, port: u16, owner: Option<SocketId>) -> Self {
        Request { port: Some(port), owner, ..self }
    }

    /// It may come to anybody.
    pub fn unaimed(self) -> Self {
        Request { aimed: false, ..self }
    }

    /// Sends to another socket of our own by its outside endpoint.
    pub fn turned_back(socket: SocketId, to: SocketAddr, owner: SocketId) -> Self {
        Request { owner: Some(owner), ..Request::plain(socket, to) }.optional()
    }

    /// Nothing waits for the answer.
    pub fn optional(self) -> Self {
        Request { needed: false, ..self }
    }
}

/// What came of a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub transaction: TransactionId,
    arrivals: Vec<Arrival>,
    owner: Option<SocketId>,
}

/// A datagram that belongs to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub socket: SocketId,
    pub from: SocketAddr,
    /// The sender of the request as the server saw it; none in a request that was turned back.
    pub mapped: Option<SocketAddr>,
    pub at: Duration,
}

impl Answer {
    /// The first arrival at the socket where it belongs.
    pub fn arrival(&self) -> Option<Arrival> {
        self.arrivals.iter().copied().find(|arrival| Some(arrival.socket) == self.owner)
    }

    /// Whether it came to where it belongs.
    pub fn arrived(&self) -> bool {
        self.arrival().is_some()
    }

    /// Whether it came to anybody.
    pub fn came(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Whether it came to somebody else.
    pub fn strayed(&self) -> bool {
        self.arrivals.iter().any(|arrival| Some(arrival.socket) != self.owner)
    }

    /// The outside endpoint of the socket that asked.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.arrivals.iter().find_map(|arrival| arrival.mapped)
    }
}

/// The bench; its clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Bench(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plan: Plan,
    now: Duration,
    wake: Option<Duration>,
    actions: VecDeque<Action>,
    sockets: Vec<SocketAddr>,
    next_port: u16,
    sent: Vec<Sent>,
    by_transaction: BTreeMap<TransactionId, usize>,
    unreachable: Vec<(SocketId, SocketAddr)>,
    refused: Vec<(SocketAddr, SocketAddr)>,
    failed: Option<Failed>,
    /// Sockets that calls are asked for from, by their outside address.
    callers: BTreeMap<IpAddr, SocketId>,
    expected: Vec<Expected>,
    false_sources: Vec<String>,
    /// How much longer than another an answer was ever under way to what was asked for at once.
    spread: Duration,
    /// The longest round trip.
    trip: Option<Duration>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Sent {
    request: Request,
    transaction: TransactionId,
    /// When it was sent, each time.
    asked: Vec<Duration>,
    arrivals: Vec<Arrival>,
    /// How long each arrival took, from the time of sending that it answers.
    trips: Vec<Duration>,
}

/// For the driver.
impl Bench {
    pub fn new(plan: Plan, now: Duration) -> Self {
        Bench(Arc::new(Mutex::new(State {
            plan,
            now,
            wake: None,
            actions: VecDeque::new(),
            sockets: Vec::new(),
            next_port: plan.inside.port(),
            sent: Vec::new(),
            by_transaction: BTreeMap::new(),
            unreachable: Vec::new(),
            refused: Vec::new(),
            failed: None,
            callers: BTreeMap::new(),
            expected: Vec::new(),
            false_sources: Vec::new(),
            spread: Duration::ZERO,
            trip: None,
            notes: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn poll_action(&self) -> Option<Action> {
        self.state().actions.pop_front()
    }

    pub fn wake(&self) -> Option<Duration> {
        self.state().wake
    }

    /// Says what time it is; who still waits afterwards says until when.
    pub fn at(&self, now: Duration) {
        let mut state = self.state();
        state.now = state.now.max(now);
        state.wake = None;
    }

    pub fn arrived(&self, now: Duration, socket: SocketId, from: SocketAddr, message: &Message) {
        let mut state = self.state();
        let (transaction, number) = untold(message.transaction);
        let Some(index) = state.by_transaction.get(&transaction).copied() else {
            return;
        };
        let Some(sent) = state.sent.get_mut(index) else {
            return;
        };
        let mapped = match message.class {
            Class::Success if message.mapped_address.is_some() => message.mapped_address,
            Class::Request => None,
            Class::Error => {
                let code = message.error_code.unwrap_or(0);
                state.failed = Some(Failed::Refused { server: sent.request.to, code });
                return;
            }
            _ => return,
        };
        if let Some(asked) = sent.asked.get(number) {
            sent.trips.push(now.saturating_sub(*asked));
        }
        if !sent.arrivals.iter().any(|known| known.socket == socket && known.from == from) {
            sent.arrivals.push(Arrival { socket, from, mapped, at: now });
        }
    }

    pub fn unreachable(&self, socket: SocketId, to: SocketAddr) {
        self.state().unreachable.push((socket, to));
    }

    pub fn refused(&self, from: SocketAddr, to: SocketAddr) {
        self.state().refused.push((from, to));
    }
}

/// For the steps.
impl Bench {
    pub fn now(&self) -> Duration {
        self.state().now
    }

    pub fn note(&self, note: String) {
        self.state().notes.push(note);
    }

    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().notes)
    }

    /// A port that no socket has yet, nor the one after it up to `count`.
    pub fn fresh_ports(&self, count: u16) -> u16 {
        let mut state = self.state();
        let first = state.next_port;
        state.next_port = first.saturating_add(count);
        first
    }

    /// The outside ports that were seen.
    pub fn seen_ports(&self) -> BTreeSet<u16> {
        let state = self.state();
        let arrivals = state.sent.iter().flat_map(|sent| &sent.arrivals);
        arrivals.filter_map(|arrival| Some(arrival.mapped?.port())).collect()
    }

    /// An outside port that nobody was seen with.
    pub fn unseen_port(&self) -> u16 {
        let seen = self.seen_ports();
        let drawn = self.state().plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let first = drawn as u16 | 0x8000;
        (first..=u16::MAX).chain(0x8000..first).find(|port| !seen.contains(port)).unwrap_or(first)
    }

    /// A new socket.
    pub fn bind(&self, local: SocketAddr) -> SocketId {
        let mut state = self.state();
        let socket = SocketId::try_from(state.sockets.len()).unwrap_or(SocketId::MAX);
        state.sockets.push(local);
        state.actions.push_back(Action::Bind { socket, local });
        socket
    }

    /// A new socket of a host on a port that none had yet.
    pub fn fresh(&self, host: IpAddr) -> SocketId {
        self.bind(SocketAddr::new(host, self.fresh_ports(1)))
    }

    /// Where a socket is bound.
    pub fn local(&self, socket: SocketId) -> SocketAddr {
        let state = self.state();
        state.sockets.get(usize::from(socket)).copied().unwrap_or(state.plan.inside)
    }

    /// Whether the socket was told that what it sent there was refused.
    pub fn was_unreachable(&self, socket: SocketId, to: SocketAddr) -> bool {
        self.state().unreachable.contains(&(socket, to))
    }

    /// Whether one of the server's datagrams was refused.
    pub fn was_refused(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.state().refused.contains(&(from, to))
    }

    /// Sends requests in their order, again and again until those that are needed are answered; then waits as much longer
    /// as answers are seen to differ, for those that were overtaken.
    pub async fn exchange(&self, requests: Vec<Request>) -> Result<Vec<Answer>, Failed> {
        let sent = self.register(requests);
        let began = self.now();
        let mut wait = self.state().first_wait();
        for tries in 1.. {
            let deadline = self.send_unanswered(&sent) + wait;
            if self.until(deadline, |state| state.all(&sent, true)).await? {
                break;
            }
            if self.now() >= began + PATIENCE {
                return Err(self.state().silent(&sent, tries));
            }
            wait = (wait * 2).min(SLOWEST);
        }
        let overtaken = self.state().overtaken(&sent);
        self.until(overtaken, |state| state.all(&sent, false)).await?;
        Ok(self.state().answers(&sent))
    }

    /// One request that must be answered; the outside endpoint of its socket.
    pub async fn ask(&self, socket: SocketId, to: SocketAddr) -> Result<SocketAddr, Failed> {
        let answers = self.exchange(vec![Request::plain(socket, to)]).await?;
        answers.first().and_then(Answer::mapped).ok_or(Failed::Inconsistent(Vec::new()))
    }

    /// Lets time pass.
    pub async fn sleep_until(&self, then: Duration) -> Result<(), Failed> {
        self.until(then, |_| false).await.map(|_| ())
    }

    /// Notes what a witness on the wire should look for.
    pub fn expect(&self, expected: Expected) {
        self.state().expected.push(expected);
    }

    /// All that was noted for a witness.
    pub fn take_expected(&self) -> Vec<Expected> {
        std::mem::take(&mut self.state().expected)
    }

    /// Notes that something did not bear its true source.
    pub fn false_source(&self, what: String) {
        self.state().false_sources.push(what);
    }

    /// What did not bear its true source.
    pub fn false_sources(&self) -> Vec<String> {
        let state = self.state();
        let mut found = state.false_sources.clone();
        for sent in &state.sent {
            let Some(source) = state.source(&sent.request) else {
                continue;
            };
            let wrong = |arrival: &&Arrival| arrival.mapped.is_some() && arrival.from != source;
            let told = |arrival: &Arrival| format!("what {source} sent came from {}", arrival.from);
            found.extend(sent.arrivals.iter().filter(wrong).map(told));
        }
        found
    }

    /// What came to a socket that it did not belong to.
    pub fn strays(&self) -> Vec<String> {
        let state = self.state();
        let strays = |sent: &Sent| {
            let Request { owner, aimed, .. } = sent.request;
            let stray = |arrival: &&Arrival| aimed && Some(arrival.socket) != owner;
            let told = |arrival: &Arrival| state.describe_stray(sent, arrival);
            sent.arrivals.iter().filter(stray).map(told).collect::<Vec<_>>()
        };
        state.sent.iter().flat_map(strays).collect()
    }

    /// The socket that calls are asked for from, for an outside address.
    pub fn known_caller(&self, outside: IpAddr) -> Option<SocketId> {
        self.state().callers.get(&outside).copied()
    }

    /// Notes the outside address of a socket that calls may be asked for from.
    pub fn is_caller(&self, outside: IpAddr, socket: SocketId) {
        self.state().callers.insert(outside, socket);
    }

    /// Forgets a socket whose outside address is another one now.
    pub fn no_caller(&self, outside: IpAddr) {
        self.state().callers.remove(&outside);
    }

    /// Waits until something is true, or until a time; false then.
    async fn until(&self, deadline: Duration, done: impl Fn(&State) -> bool) -> Result<bool, Failed> {
        poll_fn(|_| {
            let mut state = self.state();
            if let Some(failed) = &state.failed {
                return Poll::Ready(Err(failed.clone()));
            }
            if done(&state) {
                return Poll::Ready(Ok(true));
            }
            if state.now >= deadline {
                return Poll::Ready(Ok(false));
            }
            state.wake = Some(state.wake.map_or(deadline, |wake| wake.min(deadline)));
            Poll::Pending
        })
        .await
    }

    fn register(&self, requests: Vec<Request>) -> Vec<usize> {
        let mut state = self.state();
        let first = state.sent.len();
        for request in requests {
            let index = state.sent.len();
            let mut transaction = [0; 12];
            transaction[..8].copy_from_slice(&state.plan.seed.to_be_bytes());
            transaction[8..11].copy_from_slice(&(index as u32).to_be_bytes()[1..]);
            state.by_transaction.insert(transaction, index);
            state.sent.push(Sent {
                request,
                transaction,
                asked: Vec::new(),
                arrivals: Vec::new(),
                trips: Vec::new(),
            });
        }
        (first..state.sent.len()).collect()
    }

    fn send_unanswered(&self, which: &[usize]) -> Duration {
        let mut state = self.state();
        let State { sent, actions, now, .. } = &mut *state;
        let unanswered = which
            .iter()
            .copied()
            .filter(|index| sent.get(*index).is_some_and(|sent| sent.arrivals.is_empty()));
        for index in unanswered.collect::<Vec<_>>() {
            let Some(Sent { request, transaction, asked, .. }) = sent.get_mut(index) else { continue };
            let mut message = Message::binding_request(told(*transaction, asked.len()));
            asked.push(*now);
            if request.change != ChangeRequest::default() {
                message = message.with_change_request(request.change);
            }
            if let Some(port) = request.port {
                message = message.with_response_port(port);
            }
            let datagram = message.encode();
            actions.push_back(Action::Send { socket: request.socket, to: request.to, datagram });
        }
        state.now
    }
}

/// A transaction of which a server's answer tells which time of sending it answers: by its last byte.
fn told(mut transaction: TransactionId, number: usize) -> TransactionId {
    transaction[11] = number as u8;
    transaction
}

/// The transaction, and which time it was sent.
fn untold(mut transaction: TransactionId) -> (TransactionId, usize) {
    let number = std::mem::take(&mut transaction[11]);
    (transaction, number.into())
}

impl State {
    fn of<'a>(&'a self, which: &'a [usize]) -> impl Iterator<Item = &'a Sent> {
        which.iter().filter_map(|index| self.sent.get(*index))
    }

    fn all(&self, which: &[usize], needed_only: bool) -> bool {
        self.of(which).all(|sent| {
            let Request { socket, to, needed, .. } = sent.request;
            !sent.arrivals.is_empty() || (needed_only && !needed) || self.unreachable.contains(&(socket, to))
        })
    }

    fn answers(&self, which: &[usize]) -> Vec<Answer> {
        let answer = |sent: &Sent| Answer {
            transaction: sent.transaction,
            arrivals: sent.arrivals.clone(),
            owner: sent.request.owner,
        };
        self.of(which).map(answer).collect()
    }

    fn silent(&self, which: &[usize], tries: u32) -> Failed {
        let silent = self.of(which).find(|sent| sent.request.needed && sent.arrivals.is_empty());
        Failed::Silent { server: silent.map_or(self.plan.server, |sent| sent.request.to), tries }
    }

    /// Until when to wait for answers that were overtaken: as long again as the allowed ones took, or, if that is more,
    /// several times as much as they ever differed; longer where any was slow, since few have been seen. What was lost and asked for again says nothing of that.
    fn overtaken(&mut self, which: &[usize]) -> Duration {
        let trips = || self.of(which).flat_map(|sent| sent.trips.iter().copied());
        let (least, most) = (trips().min().unwrap_or_default(), trips().max());
        self.spread = self.spread.max(most.unwrap_or_default() - least);
        self.trip = self.trip.max(most);
        // From the first time of asking: of an answer that is one of many, it is the quickest that is seen.
        let took =
            self.of(which).filter_map(|sent| Some(sent.arrivals.first()?.at - *sent.asked.first()?)).max();
        let slow = self.trip.filter(|trip| *trip > SLOW).map_or(Duration::ZERO, |trip| trip * 10);
        self.now + took.unwrap_or_default().max(self.spread * 4).max(slow).min(OVERTAKEN)
    }

    fn first_wait(&self) -> Duration {
        self.trip.map_or(FIRST_WAIT, |trip| (trip * TRIPS).clamp(SOONEST, FIRST_WAIT))
    }

    /// Where the answer to a request comes from; none where the request is not for the server.
    fn source(&self, request: &Request) -> Option<SocketAddr> {
        let Plan { server, other, .. } = self.plan;
        let other_ip = request.to.ip() == other.ip();
        let other_port = request.to.port() == other.port();
        let known = (other_ip || request.to.ip() == server.ip())
            && (other_port || request.to.port() == server.port());
        known.then(|| {
            let ip = if other_ip ^ request.change.ip { other } else { server }.ip();
            let port = if other_port ^ request.change.port { other } else { server }.port();
            SocketAddr::new(ip, port)
        })
    }

    fn describe_stray(&self, sent: &Sent, arrival: &Arrival) -> String {
        let name = |socket: SocketId| {
            self.sockets.get(usize::from(socket)).map_or_else(|| "nobody".to_owned(), SocketAddr::to_string)
        };
        let owner = sent.request.owner.map_or_else(|| "nobody".to_owned(), name);
        format!("what {} sent for {owner} came to {}", arrival.from, name(arrival.socket))
    }
}
