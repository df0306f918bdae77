//! Tensors by name in one safetensors file, checked as they are read.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{AdapterError, Result};
use crate::gate::Gate;
use crate::memory::{Mixer, Projection};

/// The only entry of the metadata: the order of a map with more would not be the same every time.
const ABOUT: &str = "aside";

/// Tensors to be written.
#[derive(Default)]
pub(crate) struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    pub(crate) fn put(&mut self, name: &str, kind: Dtype, dims: &[usize], bytes: Vec<u8>) {
        self.0.push((name.to_owned(), kind, dims.to_vec(), bytes));
    }

    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        self.put(name, Dtype::F32, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    pub(crate) fn gate(&mut self, gate: &Gate) {
        self.floats("gate.weight", &[2, gate.weight.len() / 2], &gate.weight);
        self.floats("gate.bias", &[2], &gate.bias);
        self.floats("gate.threshold", &[1], &[gate.threshold]);
        let table: Vec<f32> = gate.table.iter().flat_map(|(t, r)| [*t, *r]).collect();
        self.floats("gate.table", &[gate.table.len(), 2], &table);
    }

    pub(crate) fn mixer(&mut self, mixer: &Mixer) {
        let bytes = mixer.0.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put("memory.mixer", Dtype::F64, &[mixer.0.len()], bytes);
    }

    /// A learned projection; the seeded one is known to every build.
    pub(crate) fn projection(&mut self, projection: &Projection, hidden: usize) {
        if let Some(values) = projection.learned() {
            self.floats("memory.projection", &[hidden, values.len() / hidden.max(1)], values);
        }
    }

    /// The file; the same tensors give the same bytes. `what` names it in errors.
    pub(crate) fn finish(&self, what: &'static str, about: String) -> Result<Vec<u8>> {
        let damaged =
            |why: safetensors::SafeTensorError| AdapterError::Damaged { what, why: why.to_string() };
        let views = self
            .0
            .iter()
            .map(|(name, kind, dims, bytes)| Ok((name, TensorView::new(*kind, dims.clone(), bytes)?)))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(damaged)?;
        let metadata = HashMap::from([(ABOUT.to_owned(), about)]);
        safetensors::serialize(views, Some(metadata)).map_err(damaged)
    }
}

/// A file that is read.
pub(crate) struct File<'a> {
    what: &'static str,
    tensors: SafeTensors<'a>,
    about: String,
}

impl<'a> File<'a> {
    /// `what` names it in errors.
    pub(crate) fn open(what: &'static str, bytes: &'a [u8]) -> Result<Self> {
        let damaged =
            |why: safetensors::SafeTensorError| AdapterError::Damaged { what, why: why.to_string() };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let about = metadata.metadata().as_ref().and_then(|m| m.get(ABOUT)).cloned().unwrap_or_default();
        Ok(Self { what, tensors, about })
    }

    /// What it says it is.
    pub(crate) fn about(&self) -> &str {
        &self.about
    }

    /// An error that names the file.
    pub(crate) fn damaged(&self, why: impl ToString) -> AdapterError {
        AdapterError::Damaged { what: self.what, why: why.to_string() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The raw bytes of a tensor.
    pub(crate) fn part(&self, name: &str, kind: Dtype) -> Result<&[u8]> {
        let view = self.tensors.tensor(name).map_err(|error| self.damaged(error))?;
        if view.dtype() == kind {
            Ok(view.data())
        } else {
            Err(self.damaged(format!("{name} is of another type")))
        }
    }

    /// Finite numbers; with `dims`, of that shape.
    pub(crate) fn floats(&self, name: &str, dims: Option<&[usize]>) -> Result<Vec<f32>> {
        let values: Vec<f32> = words(self.part(name, Dtype::F32)?).map(f32::from_le_bytes).collect();
        let shape = self.tensors.tensor(name).map_err(|error| self.damaged(error))?;
        if dims.is_some_and(|dims| dims != shape.shape()) {
            return Err(self.damaged(format!("{name} has another shape")));
        }
        if values.iter().all(|v| v.is_finite()) {
            Ok(values)
        } else {
            Err(self.damaged(format!("{name} is not finite")))
        }
    }

    /// Length of a matrix' rows, at least 1.
    pub(crate) fn columns(&self, name: &str) -> Result<usize> {
        let view = self.tensors.tensor(name).map_err(|error| self.damaged(error))?;
        let columns = view.shape().last().copied().filter(|n| *n > 0);
        columns.ok_or_else(|| self.damaged(format!("{name} has another shape")))
    }

    /// The gate, if there is one.
    pub(crate) fn gate(&self, hidden: usize) -> Result<Option<Gate>> {
        if !self.has("gate.weight") {
            return Ok(None);
        }
        let pair = |c: &[f32]| Some((*c.first()?, *c.last()?));
        Ok(Some(Gate {
            weight: self.floats("gate.weight", Some(&[2, hidden]))?,
            bias: <[f32; 2]>::try_from(self.floats("gate.bias", Some(&[2]))?)
                .map_err(|_| self.damaged("gate.bias"))?,
            threshold: self.floats("gate.threshold", Some(&[1]))?.first().copied().unwrap_or(0.5),
            budget: 1.0,
            table: self.floats("gate.table", None)?.chunks_exact(2).filter_map(pair).collect(),
        }))
    }

    /// The learned projection, or the seeded one.
    pub(crate) fn projection(&self, hidden: usize) -> Result<Projection> {
        if !self.has("memory.projection") {
            return Ok(Projection::seeded(hidden));
        }
        let projection = Projection::of(hidden, self.floats("memory.projection", None)?);
        projection.ok_or_else(|| self.damaged("its projection has another shape"))
    }

    /// The mixer, if there is one.
    pub(crate) fn mixer(&self) -> Result<Option<Mixer>> {
        if !self.has("memory.mixer") {
            return Ok(None);
        }
        let numbers: Vec<f64> =
            words(self.part("memory.mixer", Dtype::F64)?).map(f64::from_le_bytes).collect();
        let mixer = Mixer::from_numbers(&numbers);
        mixer.map(Some).ok_or_else(|| self.damaged("its mixer has other numbers"))
    }
}

/// Little-endian words of a tensor.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|c| c.try_into().unwrap_or([0; N]))
}
