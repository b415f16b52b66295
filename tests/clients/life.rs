//! The life of a client that runs in this process: a thread that ends on request, and is waited for.
//!
//! When [`Life`] is gone, so is the client's socket: nothing that is sent to the client afterwards can be taken and
//! acknowledged by it any more. A scenario that goes on before that would race the client that it believes dead.

use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A running client. Dropping it ends the client and waits until the end.
pub(crate) struct Life {
    /// Dropping it tells the client to end.
    going: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Life {
    /// Runs `client` on a thread of its own. It must return soon after the receiver it is given has fired.
    pub(crate) fn start(client: impl FnOnce(oneshot::Receiver<()>) + Send + 'static) -> Self {
        let (going, end) = oneshot::channel();
        Self { going: Some(going), thread: Some(std::thread::spawn(move || client(end))) }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.going = None;
        if let Some(thread) = self.thread.take() {
            // A client that panicked is dead too; the events that are missing say so.
            let _ = thread.join();
        }
    }
}
