//! What a page may have done, where that is allowed: the faults of a lab that stays up.

use std::{
    io,
    net::TcpStream,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use natrig_lab::Halt;
use serde::Deserialize;
use serde_json::json;

use super::http::{Request, Response};

/// Does something that is given in words, until `Halt` is raised; says what was done, or why not.
pub type Deed = Box<dyn Fn(&[String], &Halt) -> Result<String, String> + Send + Sync>;

/// How often it is looked whether the page still waits.
const LOOK: Duration = Duration::from_millis(50);

/// What may be done, if anything.
#[derive(Default)]
pub struct Deeds(OnceLock<Deed>);

/// What is asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    words: Vec<String>,
}

impl Deeds {
    /// Allows something, once and for all.
    #[cfg(any(feature = "machines", test))]
    pub fn allow(&self, deed: Deed) {
        // There is one lab, and it says so once.
        let _ = self.0.set(deed);
    }

    /// Does what a request asks for, for as long as the one who asked waits.
    pub fn answer(&self, request: &Request, stream: &TcpStream) -> Response {
        let Some(deed) = self.0.get() else {
            return Response::text(405, "There is nothing to be done here; it is only shown.");
        };
        let asked: Asked = match serde_json::from_slice(&request.body) {
            Ok(asked) => asked,
            Err(error) => return Response::text(400, format!("That is no request for a fault: {error}.")),
        };
        let halt = Halt::default();
        let done = AtomicBool::new(false);
        let came_to = thread::scope(|scope| {
            scope.spawn(|| raise_when_gone(stream, &halt, &done));
            let came_to = deed(&asked.words, &halt);
            done.store(true, Ordering::SeqCst);
            came_to
        });
        let told = match came_to {
            Ok(done) => json!({ "done": done }),
            Err(problem) => json!({ "problem": problem }),
        };
        Response::json(told.to_string().into_bytes())
    }
}

fn raise_when_gone(stream: &TcpStream, halt: &Halt, done: &AtomicBool) {
    let _ = stream.set_read_timeout(Some(LOOK));
    while !done.load(Ordering::SeqCst) {
        match stream.peek(&mut [0]) {
            Ok(0) => return halt.raise(),
            // It says more than it should, which nobody reads.
            Ok(_) => thread::sleep(LOOK),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return halt.raise(),
        }
    }
}
