//! The server: a thread that takes connections, and one for each of them.

use std::{
    io,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use natrig_report::live::{self, Page, Part};

use super::{
    access::{Admission, Guard},
    deeds::Deeds,
    history::History,
    http::{self, Request, Response, Timed},
};
use crate::failure::Failure;

/// How many connections there may be at once.
const MOST: usize = 64;

/// How long a request may take to come.
const LISTEN: Duration = Duration::from_secs(5);

/// How long somebody may take to read what is sent at once. Who is slower is cut off; a browser comes again by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// What serves a run.
pub struct Server {
    guard: Guard,
    history: Arc<History>,
    deeds: Arc<Deeds>,
    page: Page,
    connections: AtomicUsize,
    patience: Duration,
}

impl Server {
    /// Of a run's history, or a lab's, and of what may be done to it.
    pub fn new(guard: Guard, history: Arc<History>, deeds: Arc<Deeds>) -> Result<Self, Failure> {
        let page = live::page().map_err(natrig_report::WriteError::from)?;
        Ok(Server { guard, history, deeds, page, connections: AtomicUsize::new(0), patience: PATIENCE })
    }

    /// With less patience.
    #[cfg(test)]
    pub fn impatient(self, patience: Duration) -> Self {
        Server { patience, ..self }
    }

    /// Serves in threads of its own, which end with the process.
    pub fn start(self, listener: TcpListener) -> io::Result<()> {
        let server = Arc::new(self);
        let accept = move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => Server::take(&server, stream),
                    // Too many files are open, or the like; that passes.
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            }
        };
        thread::Builder::new().name("web".to_owned()).spawn(accept).map(drop)
    }

    fn take(server: &Arc<Self>, stream: TcpStream) {
        let place = Place::new(server);
        if server.connections.load(Ordering::SeqCst) > MOST {
            let busy = Response::text(503, "There are too many connections. Close some pages.");
            // It fits into what the kernel takes at once.
            let _ = busy.send(&mut Timed::new(&stream, Duration::from_millis(50)));
            return;
        }
        let work = move || {
            // That somebody is gone is nothing to tell.
            let _ = place.0.serve(&stream);
            http::part_with(&stream);
        };
        let _ = thread::Builder::new().name("web-page".to_owned()).spawn(work);
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let _ = stream.set_nodelay(true);
        let request = match http::read(&mut Timed::new(stream, LISTEN)) {
            Ok(request) => request,
            Err(error) => {
                let Some(status) = error.status() else { return Ok(()) };
                return Response::text(status, error.to_string()).send(&mut self.timed(stream));
            }
        };
        let answer = match self.guard.admit(&request) {
            Admission::Refused { status, why } => Response::text(status, why),
            // The token is not left in the address, where others could read it. Where to is not for the request to say.
            Admission::Welcome { cookie } => Response {
                status: 303,
                fields: vec![("Set-Cookie", cookie), ("Location", "/".to_owned())],
                ..Response::text(303, "")
            },
            Admission::Granted => match (request.method.as_str(), request.path.as_str()) {
                ("GET", "/events") => return self.events(stream, &request),
                ("POST", "/fault") => self.deeds.answer(&request, stream),
                _ => self.answer(&request),
            },
        };
        answer.send(&mut self.timed(stream))
    }

    fn timed<'a>(&self, stream: &'a TcpStream) -> Timed<'a> {
        Timed::new(stream, self.patience)
    }

    fn answer(&self, request: &Request) -> Response {
        if request.method != "GET" {
            return Response::text(405, "There is nothing to be done here; it is only shown.");
        }
        if request.path == "/" {
            return Response {
                status: 200,
                kind: "text/html; charset=utf-8",
                fields: vec![("Content-Security-Policy", self.page.policy.clone())],
                body: self.page.html.clone().into_bytes(),
            };
        }
        let mut parts = request.path.split('/').skip(1);
        let part = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("cell"), Some(cell), Some(part), None) => cell.parse().ok().zip(Part::named(part)),
            _ => None,
        };
        match part {
            Some((cell, part)) => self.part(cell, part),
            None => Response::text(404, "There is nothing of this name."),
        }
    }

    fn part(&self, cell: usize, part: Part) -> Response {
        let Some((record, folder)) = self.history.record(cell) else {
            return Response::text(404, "This cell has not ended.");
        };
        match live::part(&record, part, &folder) {
            Ok(Ok(json)) => Response::json([b"{\"value\":", &json[..], b"}"].concat()),
            // That there is none is an answer, not a mistake of who asks.
            Ok(Err(why)) => Response::json(serde_json::json!({ "problem": why }).to_string().into_bytes()),
            Err(error) => Response::text(404, format!("It has no JSON form: {error}.")),
        }
    }

    fn events(&self, stream: &TcpStream, request: &Request) -> io::Result<()> {
        io::Write::write_all(&mut self.timed(stream), http::stream_head().as_bytes())?;
        self.history.follow(request.only("last-event-id"), |bytes| {
            io::Write::write_all(&mut self.timed(stream), bytes)
        })
    }
}

/// A connection's place among those that there may be.
struct Place(Arc<Server>);

impl Place {
    fn new(server: &Arc<Server>) -> Self {
        server.connections.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(server))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
