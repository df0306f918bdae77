//! A plain byte form for jobs and checkpoints: little-endian numbers and length-prefixed slices behind a tag.

use crate::error::{AdapterError, Result};

/// Writes.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn tagged(tag: [u8; 8]) -> Self {
        Self(tag.to_vec())
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn real(&mut self, value: f64) {
        self.number(value.to_bits());
    }

    pub(crate) fn bytes(&mut self, values: &[u8]) {
        self.number(values.len() as u64);
        self.0.extend_from_slice(values);
    }

    pub(crate) fn ids(&mut self, values: &[u32]) {
        self.number(values.len() as u64);
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    pub(crate) fn floats(&mut self, values: &[f32]) {
        self.number(values.len() as u64);
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads; every length is checked against what is there.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn tagged(what: &'static str, tag: [u8; 8], bytes: &'a [u8]) -> Result<Self> {
        match bytes.split_first_chunk::<8>() {
            Some((found, rest)) if *found == tag => Ok(Self { what, rest }),
            _ => Err(AdapterError::Damaged { what, why: "it is of another kind or version".into() }),
        }
    }

    fn short(&self) -> AdapterError {
        AdapterError::Damaged { what: self.what, why: "it ends too early".into() }
    }

    /// An error that names what is read.
    pub(crate) fn damaged(&self, why: &str) -> AdapterError {
        AdapterError::Damaged { what: self.what, why: why.into() }
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let (value, rest) = self.rest.split_first_chunk::<8>().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*value))
    }

    pub(crate) fn size(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| self.short())
    }

    pub(crate) fn real(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.number()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.size()?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    fn words(&mut self) -> Result<impl Iterator<Item = [u8; 4]> + 'a> {
        let length = self.size()?.checked_mul(4).ok_or_else(|| self.short())?;
        let taken = self.take(length)?;
        Ok(taken.chunks_exact(4).map(|c| <[u8; 4]>::try_from(c).unwrap_or_default()))
    }

    pub(crate) fn ids(&mut self) -> Result<Vec<u32>> {
        Ok(self.words()?.map(u32::from_le_bytes).collect())
    }

    pub(crate) fn floats(&mut self) -> Result<Vec<f32>> {
        Ok(self.words()?.map(f32::from_le_bytes).collect())
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged("it goes on behind its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_is_noticed() {
        let mut writer = Writer::tagged(*b"test0001");
        writer.number(7);
        writer.real(-0.5);
        writer.ids(&[1, 2]);
        writer.floats(&[1.5]);
        writer.bytes(b"abc");
        let bytes = writer.finish();
        let read = |bytes: &[u8]| -> Result<_> {
            let mut r = Reader::tagged("a test", *b"test0001", bytes)?;
            let all = (r.number()?, r.real()?, r.ids()?, r.floats()?, r.bytes()?.to_vec());
            r.end()?;
            Ok(all)
        };
        assert_eq!(read(&bytes).unwrap(), (7, -0.5, vec![1, 2], vec![1.5], b"abc".to_vec()));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err());
        }
        assert!(Reader::tagged("a test", *b"test0002", &bytes).is_err());
    }
}
