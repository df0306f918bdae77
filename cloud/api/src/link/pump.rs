//! The relay's two directions: whole messages from one stream to the other until either ends.

use super::watched::Watched;
use super::zmtp::{receive, send, size};
use super::{Limits, LinkError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, split};

/// Relays between the far side (TLS), which may be silent for `silence` at most, and the near side (the ZeroMQ socket).
/// `sent` is told the bytes of every message that has gone out to the far side.
pub(super) async fn relay(
    far: impl AsyncRead + AsyncWrite + Unpin,
    near: impl AsyncRead + AsyncWrite + Unpin,
    limits: &Limits,
    silence: Duration,
    sent: impl Fn(usize),
) -> Result<(), LinkError> {
    let (far_in, mut far_out) = split(far);
    let (mut near_in, mut near_out) = split(near);
    let mut far_in = Watched::new(far_in, silence);
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
