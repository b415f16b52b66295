//! A socket whose peer must go on reading.
//!
//! Always holds: a write that waits for the peer for too long fails, which ends the connection: whoever asks and does not read holds no
//! place for long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// See the module's text.
pub(super) struct PatientStream<S> {
    stream: S,
    patience: Duration,
    /// When it is too late; counts while a write waits.
    too_late: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> PatientStream<S> {
    /// Each write may wait so long.
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, too_late: Box::pin(sleep(patience)), is_waiting: false }
    }

    /// What a write has come to, or an error if it has waited for too long.
    fn within_patience<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            let too_late = Instant::now() + self.patience;
            self.too_late.as_mut().reset(too_late);
        }
        ready!(self.too_late.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_patience(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    const PATIENCE: Duration = Duration::from_millis(500);

    #[test]
    fn whoever_does_not_read_is_given_up_and_whoever_reads_slowly_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut peer, mut stream) = (peer.unwrap(), PatientStream::new(accepted.unwrap().0, PATIENCE));
            let piece = vec![7; 8 << 20];
            let slowly = async {
                let (mut read, mut buffer) = (0, vec![0; 4 << 20]);
                while read < piece.len() {
                    sleep(PATIENCE / 4).await;
                    read += peer.read(&mut buffer).await.unwrap();
                }
            };
            let (written, ()) = tokio::join!(stream.write_all(&piece), slowly);
            written.unwrap();
            let error = loop {
                if let Err(error) = stream.write_all(&piece).await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }
}
