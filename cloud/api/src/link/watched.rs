//! A stream that fails when nothing at all comes in for too long while somebody waits for it. Bytes count, not
//! messages: a large message on a slow line is no silence.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What a silent stream fails with.
const SILENT: &str = "it fell silent";

/// Reads from `inner`.
pub(super) struct Watched<S> {
    inner: S,
    limit: Duration,
    alarm: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> Watched<S> {
    /// Fails with [`io::ErrorKind::TimedOut`] after `limit` without a byte.
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, alarm: Box::pin(sleep(limit)), waiting: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buffer) {
            this.waiting = false;
            return Poll::Ready(read);
        }
        if !this.waiting {
            // Time in which nobody wanted to read is not the other side's.
            this.waiting = true;
            this.alarm.as_mut().reset(Instant::now() + this.limit);
        }
        ready!(this.alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, SILENT)))
    }
}
