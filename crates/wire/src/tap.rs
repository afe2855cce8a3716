//! The thread that writes captures, so that a slow disk does not slow the wire.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use natrig_capture::{Extent, Folder, FolderError, Sighting};

/// How many sightings are handed over at once, at most about: few enough that their bytes are still at hand when they are written.
const BATCH: usize = 64;

/// How long sightings wait for company.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many batches the disk may lag behind; then the switch waits for it: a capture loses nothing.
const LAG: usize = 1024;

/// How much nicer than the switch the writer is: it has time until the lag is used up, and must not interrupt machines that send meanwhile.
const NICE: i32 = 10;

/// The switch's end of the way to the captures.
#[derive(Debug)]
pub(crate) struct Taps {
    batch: Vec<Sighting>,
    /// When the oldest of the batch came.
    since: Instant,
    writer: SyncSender<Message>,
}

enum Message {
    Sightings(Vec<Sighting>),
    Flush(Flushed),
}

/// How the captures fare; shared by all who ask.
pub(crate) type Captured = Result<(), Arc<FolderError>>;

/// Where the writer of captures answers a flush.
pub(crate) type Flushed = Sender<Result<Extent, Arc<FolderError>>>;

impl Taps {
    /// Creates the captures and starts their writer, which ends, with everything written, when the `Taps` are gone.
    pub(crate) fn start(
        folder: &Path,
        links: &[String],
        ring: Option<u64>,
    ) -> Result<(Self, JoinHandle<Captured>), FolderError> {
        let mut folder_writer = Folder::create(folder, links)?;
        if let Some(bytes) = ring {
            folder_writer = folder_writer.keep_newest(bytes);
        }
        let (writer, messages) = sync_channel(LAG);
        let thread = std::thread::Builder::new()
            .name("natrig-capture".into())
            .spawn(move || {
                // Of this thread alone. Where it is not allowed captures cost the machines more.
                let _ = rustix::process::nice(NICE);
                write(folder_writer, &messages)
            })
            .map_err(|source| FolderError::Write { path: folder.to_owned(), source })?;
        Ok((Self { batch: Vec::new(), since: Instant::now(), writer }, thread))
    }

    pub(crate) fn push(&mut self, sighting: Sighting) {
        if self.batch.is_empty() {
            self.since = Instant::now();
        }
        self.batch.push(sighting);
    }

    /// Hands the batch over if it is large or old enough; tells how long it may still wait, if it has to.
    pub(crate) fn pass(&mut self) -> Option<Duration> {
        if self.batch.is_empty() {
            return None;
        }
        let left = PATIENCE.saturating_sub(self.since.elapsed());
        if self.batch.len() < BATCH && !left.is_zero() {
            return Some(left);
        }
        self.hand_over();
        None
    }

    /// Hands everything over; the writer answers when it is in the files.
    pub(crate) fn flush(&mut self, answer: Flushed) {
        self.hand_over();
        // A writer that is gone drops the answer, and whoever waits for it learns.
        let _ = self.writer.send(Message::Flush(answer));
    }

    fn hand_over(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
            let _ = self.writer.send(Message::Sightings(batch));
        }
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Writes until the switch is gone. After an error nothing more is written: every flush from then on tells it, and so
/// does the end.
fn write(mut folder: Folder, messages: &Receiver<Message>) -> Captured {
    let mut state = Ok(());
    loop {
        let message = match messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // While there is nothing else to do, so that captures can be watched as they grow.
                state = state.and_then(|()| flush(&mut folder).map(drop));
                match messages.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        let was_well = state.is_ok();
        match message {
            Message::Sightings(batch) => {
                state = state.and_then(|()| {
                    batch.iter().try_for_each(|sighting| folder.write(sighting)).map_err(Arc::new)
                });
            }
            Message::Flush(answer) => {
                let flushed = state.and_then(|()| flush(&mut folder));
                state = flushed.as_ref().map(|_| ()).map_err(Arc::clone);
                let _ = answer.send(flushed);
            }
        }
        if let Err(error) = &state
            && was_well
        {
            tracing::error!(%error, "captures are incomplete from here on");
        }
    }
    state.and_then(|()| flush(&mut folder).map(drop))
}

fn flush(folder: &mut Folder) -> Result<Extent, Arc<FolderError>> {
    folder.flush().map_err(Arc::new)
}
