//! The relay's two directions: whole messages from one stream to the other until either ends.

use super::zmtp::{receive, send, size};
use super::{LinkError, Limits};
use tokio::io::{AsyncRead, AsyncWrite, split};

/// Relays between the far side (TLS) and the near side (the ZeroMQ socket). `sent` is told the bytes of every message
/// that has gone out to the far side.
pub(super) async fn relay(
    far: impl AsyncRead + AsyncWrite + Unpin,
    near: impl AsyncRead + AsyncWrite + Unpin,
    limits: &Limits,
    sent: impl Fn(usize),
) -> Result<(), LinkError> {
    let (mut far_in, mut far_out) = split(far);
    let (mut near_in, mut near_out) = split(near);
    let inward = async {
        while let Some(message) = receive(&mut far_in, limits).await? {
            send(&mut near_out, &message).await?;
        }
        Ok(())
    };
    let outward = async {
        while let Some(message) = receive(&mut near_in, limits).await? {
            send(&mut far_out, &message).await?;
            sent(size(&message));
        }
        Ok(())
    };
    tokio::select! {
        ended = inward => ended,
        ended = outward => ended,
    }
}
