//! ZMTP 3.0 with the NULL mechanism, as far as a relay needs it: the handshake of one side, and whole messages within
//! limits. Lengths are checked before a byte of a frame is read.

use super::{Limits, LinkError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const GREETING_BYTES: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
/// Largest READY command.
const READY_BYTES: usize = 512;

/// One message: its parts in order.
pub(super) type Parts = Vec<Vec<u8>>;

/// Greets, says READY as `socket_type` (with an Identity where one is given), and reads the other side's. Whatever
/// the other side calls itself is dropped here.
pub(super) async fn handshake(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    socket_type: &str,
    identity: Option<&str>,
) -> Result<(), LinkError> {
    let mut greeting = [0u8; GREETING_BYTES];
    let (signature, rest) = greeting.split_at_mut(10);
    signature.copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f]);
    let (version, rest) = rest.split_at_mut(2);
    version.copy_from_slice(&[3, 0]);
    let (mechanism, _) = rest.split_at_mut(4);
    mechanism.copy_from_slice(b"NULL");
    stream.write_all(&greeting).await?;
    stream.write_all(&ready(socket_type, identity)).await?;
    stream.flush().await?;

    let mut theirs = [0u8; GREETING_BYTES];
    stream.read_exact(&mut theirs).await?;
    let [0xff, _, _, _, _, _, _, _, _, 0x7f, 3..=255, _, b'N', b'U', b'L', b'L', 0, ..] = theirs else {
        return Err(LinkError::Protocol("a greeting that is not ZMTP 3 with NULL"));
    };
    let (flags, length) = header(stream).await?;
    if flags & COMMAND == 0 || flags & MORE != 0 || length > READY_BYTES as u64 {
        return Err(LinkError::Protocol("no READY after the greeting"));
    }
    let mut command = vec![0; length as usize];
    stream.read_exact(&mut command).await?;
    if command.starts_with(b"\x05READY") {
        Ok(())
    } else {
        Err(LinkError::Protocol("another command than READY"))
    }
}

fn ready(socket_type: &str, identity: Option<&str>) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    let mut property = |name: &str, value: &str| {
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&(value.len() as u32).to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    };
    property("Socket-Type", socket_type);
    if let Some(identity) = identity {
        property("Identity", identity);
    }
    let mut frame = vec![COMMAND, body.len() as u8];
    frame.append(&mut body);
    frame
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> Result<(u8, u64), LinkError> {
    let flags = stream.read_u8().await?;
    rest_of_header(stream, flags).await
}

async fn rest_of_header(stream: &mut (impl AsyncRead + Unpin), flags: u8) -> Result<(u8, u64), LinkError> {
    if flags & !(MORE | LONG | COMMAND) != 0 {
        return Err(LinkError::Protocol("unknown frame flags"));
    }
    let length =
        if flags & LONG != 0 { stream.read_u64().await? } else { u64::from(stream.read_u8().await?) };
    Ok((flags, length))
}

/// Reads one message. `None` when the other side ended the stream between two messages.
pub(super) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    limits: &Limits,
) -> Result<Option<Parts>, LinkError> {
    let mut parts = Parts::new();
    let mut room = limits.message as u64;
    loop {
        let mut flags = [0];
        if stream.read(&mut flags).await? == 0 {
            return if parts.is_empty() { Ok(None) } else { Err(LinkError::Lost) };
        }
        let [flags] = flags;
        let (flags, length) = rest_of_header(stream, flags).await?;
        if flags & COMMAND != 0 {
            return Err(LinkError::Protocol("a command after READY"));
        }
        if length > room || parts.len() >= limits.parts {
            return Err(LinkError::Protocol("a message beyond the limits"));
        }
        room -= length;
        let mut part = Vec::new();
        if stream.take(length).read_to_end(&mut part).await? as u64 != length {
            return Err(LinkError::Lost);
        }
        parts.push(part);
        if flags & MORE == 0 {
            return Ok(Some(parts));
        }
    }
}

/// Writes one message.
pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), parts: &[Vec<u8>]) -> Result<(), LinkError> {
    for (number, part) in parts.iter().enumerate() {
        let more = if number + 1 < parts.len() { MORE } else { 0 };
        if let Ok(short) = u8::try_from(part.len()) {
            stream.write_all(&[more, short]).await?;
        } else {
            stream.write_u8(more | LONG).await?;
            stream.write_u64(part.len() as u64).await?;
        }
        stream.write_all(part).await?;
    }
    Ok(stream.flush().await?)
}

/// Bytes of a message's parts.
pub(super) fn size(parts: &[Vec<u8>]) -> usize {
    parts.iter().map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: fn() -> Limits = || Limits { message: 1000, parts: 3, ..Limits::default() };

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn two_sides_shake_hands_and_a_long_length_is_refused_unread() {
        run(async {
            let (mut a, mut b) = tokio::io::duplex(256);
            let (left, right) =
                tokio::join!(handshake(&mut a, "DEALER", Some("me")), handshake(&mut b, "ROUTER", None));
            left.unwrap();
            right.unwrap();
            let mut hostile: &[u8] = &[LONG, 0, 0, 0, 0x10, 0, 0, 0, 0];
            assert_eq!(
                receive(&mut hostile, &SMALL()).await,
                Err(LinkError::Protocol("a message beyond the limits"))
            );
            let mut parts: &[u8] = &[MORE, 0, MORE, 0, MORE, 0, 0, 0];
            assert_eq!(
                receive(&mut parts, &SMALL()).await,
                Err(LinkError::Protocol("a message beyond the limits"))
            );
            let mut command: &[u8] = &[COMMAND, 1, 5];
            assert_eq!(
                receive(&mut command, &SMALL()).await,
                Err(LinkError::Protocol("a command after READY"))
            );
            assert_eq!(receive(&mut [0u8, 9, 1].as_slice(), &SMALL()).await, Err(LinkError::Lost));
            assert_eq!(receive(&mut [].as_slice(), &SMALL()).await, Ok(None));
            let mut plain = [0u8; 64].as_slice();
            let mut both = tokio::io::join(&mut plain, tokio::io::sink());
            assert!(matches!(handshake(&mut both, "ROUTER", None).await, Err(LinkError::Protocol(_))));
        });
    }

    proptest! {
        #[test]
        fn messages_come_back_whatever_the_pieces(
            messages in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..320), 1..4), 1..5),
            pieces in 1usize..40,
        ) {
            run(async {
                let (mut a, mut b) = tokio::io::duplex(pieces);
                let limits = SMALL();
                let writing = async {
                    for message in &messages {
                        send(&mut a, message).await.unwrap();
                    }
                    drop(a);
                };
                let reading = async {
                    let mut found = Vec::new();
                    while let Some(message) = receive(&mut b, &limits).await.unwrap() {
                        found.push(message);
                    }
                    found
                };
                let ((), found) = tokio::join!(writing, reading);
                assert_eq!(found, messages);
            });
        }

        #[test]
        fn no_bytes_make_it_panic_or_exceed_the_limits(bytes: Vec<u8>) {
            run(async {
                let mut stream = bytes.as_slice();
                while let Ok(Some(message)) = receive(&mut stream, &SMALL()).await {
                    assert!(size(&message) <= 1000 && message.len() <= 3);
                }
            });
        }
    }
}
