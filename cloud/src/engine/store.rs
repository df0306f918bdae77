//! Weights in safetensors files, one or several, on disk or in memory. Tensors are read one by one, so that a large
//! model is never in memory twice, and everything read enters the digest that becomes the model's id.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde_json::Value;

use super::{EngineError, Result, linear::Raw, q8_0};

/// A header larger than this is none (the format's own bound).
const LARGEST_HEADER: u64 = 100_000_000;

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

enum Data {
    File(File),
    Memory(&'static [u8]),
}

struct Shard {
    path: PathBuf,
    data: Data,
    start: u64,
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

/// Where the decoder gets its tensors from.
pub(super) struct Store {
    place: PathBuf,
    shards: Vec<Shard>,
    digest: Context,
    parameters: u64,
}

impl Store {
    /// The weight files of a folder: those of the index, or `model.safetensors`, or every `*.safetensors`.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let shards = shard_paths(dir)?.into_iter().map(Shard::open).collect::<Result<_>>()?;
        Ok(Self::new(dir, shards))
    }

    /// One file in memory; `name` stands for it in errors.
    pub(super) fn memory(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Ok(Self::new(Path::new(name), vec![Shard::memory(Path::new(name), bytes)?]))
    }

    fn new(place: &Path, shards: Vec<Shard>) -> Self {
        Self { place: place.into(), shards, digest: Context::new(&SHA256), parameters: 0 }
    }

    /// A text of the first file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.shards.first().and_then(|shard| shard.metadata.get(key)).map(String::as_str)
    }

    /// Adds bytes to the digest.
    pub(super) fn digest(&mut self, bytes: &[u8]) {
        self.digest.update(&(bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    /// The hex digest of everything read, and how many parameters that was.
    pub(super) fn finish(self) -> (String, u64) {
        (hex(self.digest.finish().as_ref()), self.parameters)
    }

    /// A matrix of `n` rows and `k` columns.
    pub(super) fn matrix(&mut self, name: &str, n: usize, k: usize) -> Result<Raw> {
        self.read(name, &[n, k])
    }

    /// A vector of `n` values.
    pub(super) fn vector(&mut self, name: &str, n: usize) -> Result<Vec<f32>> {
        Ok(self.read(name, &[n])?.into_f32())
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Raw> {
        let missing = || EngineError::MissingTensor { tensor: name.into(), place: self.place.clone() };
        let shard = self.shards.iter_mut().find(|s| s.tensors.contains_key(name)).ok_or_else(missing)?;
        let (bytes, dtype) = shard.bytes(name, shape)?;
        let raw = widen(bytes, &dtype).ok_or_else(|| EngineError::Unsupported {
            file: shard.path.clone(),
            why: format!("tensor {name} has the type {dtype}; it reads F32, F16, BF16 and packed Q8_0"),
        })?;
        self.parameters += shape.iter().map(|n| *n as u64).product::<u64>();
        self.digest(name.as_bytes());
        match &raw {
            Raw::Q8_0(blocks) => self.digest(blocks),
            Raw::F32(values) => self.digest_values(values),
        }
        Ok(raw)
    }

    /// Values enter the digest as little-endian f32, whatever type the file has.
    fn digest_values(&mut self, values: &[f32]) {
        self.digest.update(&(values.len() as u64 * 4).to_le_bytes());
        let mut bytes = Vec::with_capacity(1 << 16);
        for part in values.chunks(1 << 14) {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|v| v.to_le_bytes()));
            self.digest.update(&bytes);
        }
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self> {
        let mut file = File::open(&path).map_err(|e| io_error(&path, e))?;
        let size = file.metadata().map_err(|e| io_error(&path, e))?.len();
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(|_| truncated(&path, size))?;
        let length = u64::from_le_bytes(length);
        if length > LARGEST_HEADER || length + 8 > size {
            return Err(truncated(&path, size));
        }
        let mut header = vec![0u8; length as usize];
        file.read_exact(&mut header).map_err(|e| io_error(&path, e))?;
        Self::new(path, Data::File(file), &header, size)
    }

    fn memory(path: &Path, bytes: &'static [u8]) -> Result<Self> {
        let cut = || truncated(path, bytes.len() as u64);
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
        let header = rest.get(..length).ok_or_else(cut)?;
        Self::new(path.into(), Data::Memory(bytes), header, bytes.len() as u64)
    }

    fn new(path: PathBuf, data: Data, header: &[u8], size: u64) -> Result<Self> {
        let damaged = |why: String| EngineError::Damaged { file: path.clone(), why };
        let mut json: BTreeMap<String, Value> = serde_json::from_slice(header)
            .map_err(|e| damaged(format!("its header is no safetensors header ({e})")))?;
        let metadata = json.remove("__metadata__").map(serde_json::from_value).transpose();
        let metadata = metadata.map_err(|e| damaged(format!("its metadata are no texts ({e})")))?;
        let start = 8 + header.len() as u64;
        let mut tensors = BTreeMap::new();
        for (name, value) in json {
            let entry: Entry =
                serde_json::from_value(value).map_err(|e| damaged(format!("tensor {name}: {e}")))?;
            let (from, to) = entry.data_offsets;
            if from > to || to > size.saturating_sub(start) {
                return Err(damaged(format!(
                    "cut short: tensor {name} ends beyond its {size} bytes; fetch it again"
                )));
            }
            tensors.insert(name, entry);
        }
        Ok(Self { path, data, start, tensors, metadata: metadata.unwrap_or_default() })
    }

    /// The bytes of a tensor of `shape`, and its type; `Q8_0` for the packed form: U8, a row as blocks.
    fn bytes(&mut self, name: &str, shape: &[usize]) -> Result<(Vec<u8>, String)> {
        let Some(entry) = self.tensors.get(name) else {
            return Err(EngineError::MissingTensor { tensor: name.into(), place: self.path.clone() });
        };
        let packed = match (entry.dtype.as_str(), shape) {
            ("U8", &[n, k]) if k.is_multiple_of(q8_0::GROUP) => Some([n, q8_0::row_bytes(k)]),
            _ => None,
        };
        let expected = packed.as_ref().map_or(shape, |packed| packed.as_slice());
        let (from, to) = entry.data_offsets;
        let value_bytes = match entry.dtype.as_str() {
            "F32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let wanted = expected.iter().map(|n| *n as u64).product::<u64>() * value_bytes;
        if entry.shape != expected
            || (to - from != wanted && value_bytes > 1)
            || (packed.is_some() && to - from != wanted)
        {
            return Err(EngineError::Shape {
                tensor: name.into(),
                file: self.path.clone(),
                expected: expected.to_vec(),
                found: entry.shape.clone(),
            });
        }
        let dtype = if packed.is_some() { "Q8_0".into() } else { entry.dtype.clone() };
        Ok((self.slice(self.start + from, (to - from) as usize)?, dtype))
    }

    fn slice(&mut self, from: u64, len: usize) -> Result<Vec<u8>> {
        match &mut self.data {
            Data::Memory(bytes) => {
                let start = from as usize;
                Ok(bytes.get(start..start + len).unwrap_or_default().to_vec())
            }
            Data::File(file) => {
                let mut bytes = vec![0u8; len];
                file.seek(SeekFrom::Start(from))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|e| io_error(&self.path, e))?;
                Ok(bytes)
            }
        }
    }
}

fn widen(bytes: Vec<u8>, dtype: &str) -> Option<Raw> {
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    Some(match dtype {
        "Q8_0" => Raw::Q8_0(bytes),
        "F32" => Raw::F32(bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect()),
        "F16" => Raw::F32(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        "BF16" => Raw::F32(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => return None,
    })
}

fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join("model.safetensors.index.json");
    if let Some(text) = read_text(&index)? {
        let damaged = |why: String| EngineError::Damaged { file: index.clone(), why };
        let json: Value = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        let map = json
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| damaged("no weight_map".into()))?;
        let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.iter().any(|name| name.contains(['/', '\\'])) {
            return Err(damaged("a weight file lies outside the folder".into()));
        }
        return Ok(names.into_iter().map(|name| dir.join(name)).collect());
    }
    let single = dir.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|e| io_error(dir, e))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort_unstable();
    if paths.is_empty() { Err(EngineError::Missing { file: single }) } else { Ok(paths) }
}

/// The text of a file; `None` when there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path, e)),
    }
}

fn io_error(path: &Path, source: std::io::Error) -> EngineError {
    if source.kind() == std::io::ErrorKind::NotFound {
        return EngineError::Missing { file: path.into() };
    }
    EngineError::Io { file: path.into(), source }
}

fn truncated(path: &Path, size: u64) -> EngineError {
    EngineError::Damaged {
        file: path.into(),
        why: format!("cut short: its header does not fit into its {size} bytes; fetch it again"),
    }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
