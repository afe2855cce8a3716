//! The control socket of a running node.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::daemon::Daemon;
use crate::mailbox::Received;
use crate::protocol::{Answer, MAX_LINE, MAX_MESSAGE, Request};

/// Askers at once.
const MAX_ASKERS: usize = 64;
/// The path of a Unix socket is no longer.
const MAX_PATH: usize = 107;

/// The control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Somebody has it.
    #[error("a node runs in {0} already; stop it, or say with --home where this one keeps its things")]
    Taken(PathBuf),
    /// The path is too long for a socket.
    #[error("{0} is too long for a socket's path (at most {MAX_PATH} bytes); choose a shorter --home")]
    Long(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {path}: {source}")]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The socket; it is removed when this is dropped.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Makes the socket, for its owner only. What an earlier node left is put away.
    pub fn bind(path: PathBuf) -> Result<Self, ControlError> {
        if path.as_os_str().len() > MAX_PATH {
            return Err(ControlError::Long(path));
        }
        match std::os::unix::net::UnixStream::connect(&path) {
            Ok(_) => {
                let home = path.parent().unwrap_or(&path).to_owned();
                return Err(ControlError::Taken(home));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Nobody listens there any more. If it cannot be removed, binding says why.
                let _ = std::fs::remove_file(&path);
            }
            Err(_) => {}
        }
        let usual = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&path);
        rustix::process::umask(usual);
        match bound {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(ControlError::Bind { path, source }),
        }
    }

    /// Serves askers for ever.
    pub async fn serve(self, daemon: Arc<Daemon>) {
        let askers = Arc::new(Semaphore::new(MAX_ASKERS));
        loop {
            // Never closed.
            let Ok(place) = askers.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let daemon = daemon.clone();
                    tokio::spawn(async move {
                        // An asker that has gone away needs no answer.
                        let _ = converse(stream, &daemon).await;
                        drop(place);
                    });
                }
                // No descriptors, say: others will be free again.
                Err(error) => {
                    tracing::warn!(%error, "cannot take a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    // Somebody else may have put it away.
    let _ = std::fs::remove_file(path);
}

async fn converse(stream: UnixStream, daemon: &Daemon) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        (&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                let wrong = Answer::Wrong(format!("not understood: {error}; is it of another version?"));
                return say(&mut writer, &wrong).await;
            }
        };
        match request {
            Request::Recv { from, timeout: limit } => {
                let taken = tokio::select! {
                    message = daemon.mailbox.take(from) => Some(message),
                    // The asker has gone away, or says what it should not.
                    _ = reader.fill_buf() => return Ok(()),
                    () = patience(limit) => None,
                };
                match taken {
                    Some(message) => hand_out(&mut writer, daemon, message).await?,
                    None => say(&mut writer, &Answer::Failed("no message came in time".to_owned())).await?,
                }
            }
            request => match body(&request, &mut reader).await? {
                Ok(body) => say(&mut writer, &daemon.answer(&request, body).await).await?,
                Err(wrong) => return say(&mut writer, &wrong).await,
            },
        }
    }
}

async fn patience(milliseconds: Option<u64>) {
    match milliseconds {
        Some(limit) => tokio::time::sleep(Duration::from_millis(limit)).await,
        None => std::future::pending().await,
    }
}

/// What follows a request.
async fn body(
    request: &Request,
    reader: &mut BufReader<OwnedReadHalf>,
) -> io::Result<Result<Vec<u8>, Answer>> {
    let Request::Send { bytes, .. } = request else {
        return Ok(Ok(Vec::new()));
    };
    if *bytes > MAX_MESSAGE {
        return Ok(Err(Answer::Wrong(format!("a message has at most {MAX_MESSAGE} bytes"))));
    }
    let mut body = Vec::new();
    reader.take(*bytes).read_to_end(&mut body).await?;
    match body.len() as u64 == *bytes {
        true => Ok(Ok(body)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A message that cannot be handed out is kept for another asker.
async fn hand_out(writer: &mut OwnedWriteHalf, daemon: &Daemon, message: Received) -> io::Result<()> {
    let Received { peer, path, data } = &message;
    let answer = Answer::Message { peer: *peer, bytes: data.len() as u64, path: (*path).into() };
    let said = async {
        say(writer, &answer).await?;
        writer.write_all(data).await
    };
    let outcome = said.await;
    if outcome.is_err() {
        daemon.mailbox.put_back(message);
    }
    outcome
}

async fn say(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
