//! Frames between daemon and trainer, over the child's standard input and output: a kind, a length, the bytes.

use std::io::{self, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame, in bytes: a job with the head of a large backbone fits.
const LARGEST: u64 = 4 << 30;
const HEADER: usize = 9;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the trainer: the Q8_0 head, after its two dimensions as u32 (vocabulary, hidden).
    Head,
    /// To the trainer: the job.
    Job,
    /// To the trainer: where an earlier run of the same job stood.
    Resume,
    /// To the trainer: all is there, begin.
    Start,
    /// From the trainer: a [`super::report::Report`] as JSON.
    Progress,
    /// From the trainer: the exact state, to resume from.
    Checkpoint,
    /// From the trainer, last: the candidate's bytes.
    Candidate,
    /// From the trainer, last: what went wrong, as text.
    Failed,
    /// From the trainer, before `Candidate`: its numbers as JSON.
    Numbers,
}

const KINDS: [Kind; 9] = [
    Kind::Head,
    Kind::Job,
    Kind::Resume,
    Kind::Start,
    Kind::Progress,
    Kind::Checkpoint,
    Kind::Candidate,
    Kind::Failed,
    Kind::Numbers,
];

fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (first, rest) = header.split_at_mut(1);
    first.copy_from_slice(&[KINDS.iter().position(|k| *k == kind).unwrap_or(0) as u8]);
    rest.copy_from_slice(&(length as u64).to_le_bytes());
    header
}

fn parse(header: [u8; HEADER]) -> io::Result<(Kind, usize)> {
    let [kind, length @ ..] = header;
    let length = u64::from_le_bytes(length);
    match KINDS.get(usize::from(kind)) {
        Some(kind) if length <= LARGEST => Ok((*kind, length as usize)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a trainer frame")),
    }
}

pub(super) fn write(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&header(kind, bytes.len()))?;
    to.write_all(bytes)?;
    to.flush()
}

pub(super) fn read(from: &mut impl Read) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let (kind, length) = parse(header)?;
    let mut bytes = Vec::new();
    if from.take(length as u64).read_to_end(&mut bytes)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((kind, bytes))
}

pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), kind: Kind, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&header(kind, bytes.len())).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header).await?;
    let (kind, length) = parse(header)?;
    let mut bytes = Vec::new();
    if from.take(length as u64).read_to_end(&mut bytes).await? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        for kind in KINDS {
            let mut bytes = Vec::new();
            write(&mut bytes, kind, b"payload").unwrap();
            assert_eq!(read(&mut bytes.as_slice()).unwrap(), (kind, b"payload".to_vec()));
        }
    }

    #[test]
    fn a_cut_or_absurd_frame_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Job, b"payload").unwrap();
        bytes.pop();
        assert!(read(&mut bytes.as_slice()).is_err());
        assert!(read(&mut [0u8, 255, 255, 255, 255, 255, 255, 255, 255].as_slice()).is_err());
        assert!(read(&mut [99u8, 0, 0, 0, 0, 0, 0, 0, 0].as_slice()).is_err());
    }
}
