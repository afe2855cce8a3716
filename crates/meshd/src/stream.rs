//! Streams between two applications.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use omerta_mesh_core::{OwnedStream, PeerId, ReadStream, StreamFault};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::handle::Handle;

/// A stream to the peer, both ways. `shutdown` ends our direction; what is dropped without it is broken off.
#[derive(Debug)]
pub struct Stream {
    handle: Handle,
    stream: OwnedStream,
    finished: bool,
}

impl Stream {
    pub(crate) fn new(handle: Handle, stream: OwnedStream) -> Self {
        Self { handle, stream, finished: false }
    }

    /// With whom.
    pub fn peer(&self) -> PeerId {
        self.stream.peer
    }
}

fn broken(fault: StreamFault) -> io::Error {
    let kind = match fault {
        StreamFault::NotConnected => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, fault)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (stream, limit) = (self.stream, buffer.remaining());
        self.handle.wait_for(stream, |waiting| waiting.reader = Some(context.waker().clone()));
        match self.handle.act(|node, now| node.read_stream(now, stream, limit)) {
            Ok(ReadStream::Data(data)) => {
                buffer.put_slice(&data);
                Poll::Ready(Ok(()))
            }
            Ok(ReadStream::Blocked) => Poll::Pending,
            Ok(ReadStream::End) => Poll::Ready(Ok(())),
            Err(fault) => Poll::Ready(Err(broken(fault))),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let stream = self.stream;
        self.handle.wait_for(stream, |waiting| waiting.writer = Some(context.waker().clone()));
        match self.handle.act(|node, now| node.write_stream(now, stream, data)) {
            Ok(0) => Poll::Pending,
            Ok(written) => Poll::Ready(Ok(written)),
            Err(fault) => Poll::Ready(Err(broken(fault))),
        }
    }

    /// There is nothing that would have to be flushed: what is written goes out by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        let stream = self.stream;
        self.handle.wait_for(stream, |waiting| waiting.writer = Some(context.waker().clone()));
        match self.handle.act(|node, now| node.finish_stream(now, stream)) {
            Ok(false) => Poll::Pending,
            Ok(true) => {
                self.finished = true;
                Poll::Ready(Ok(()))
            }
            Err(fault) => Poll::Ready(Err(broken(fault))),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let (stream, finished) = (self.stream, self.finished);
        self.handle.wait_no_more(&stream);
        self.handle.act(|node, now| node.drop_stream(now, stream, finished));
    }
}
