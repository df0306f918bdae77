//! The exact state of a training as bytes, bound to its job by the job's seed and sizes.

use super::{Best, Training};
use crate::bytes::{Reader, Writer};
use crate::error::Result;
use crate::head::Head;
use crate::job::Job;
use crate::optimiser::AdamW;
use crate::side::SideNetwork;

const TAG: [u8; 8] = *b"asideck2";

impl<'a> Training<'a> {
    /// The state between two steps.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn checkpoint(&self) -> Result<Vec<u8>> {
        let mut w = Writer::tagged(TAG);
        [self.job.seed, self.gains.len() as u64, self.stage, self.epoch, self.batch]
            .iter()
            .for_each(|n| w.number(*n));
        w.number(u64::from(self.finished));
        w.number(self.optimiser.steps);
        for lists in [&self.network.values()?, &self.optimiser.first, &self.optimiser.second] {
            lists.iter().for_each(|l| w.floats(l));
        }
        w.floats(&self.gains);
        w.number(self.epochs.len() as u64);
        self.epochs.iter().for_each(|e| w.number(*e));
        let (base, network) = self.last.unwrap_or((f64::NAN, f64::NAN));
        w.real(base);
        w.real(network);
        w.number(u64::from(self.best.is_some()));
        if let Some(best) = &self.best {
            w.real(best.cost);
            w.number(best.epoch);
            w.floats(&best.gains);
            w.number(best.values.len() as u64);
            best.values.iter().for_each(|l| w.floats(l));
        }
        Ok(w.finish())
    }

    /// Goes on from a checkpoint of the same job: the candidate is the same bit for bit.
    ///
    /// # Errors
    /// [`crate::AdapterError::Damaged`] when it is damaged or of another job.
    pub fn resume(job: &'a Job, head: &'a Head, checkpoint: &[u8]) -> Result<Self> {
        Self::new(job, head)?.restore(checkpoint)
    }

    /// The same for a training that is prepared.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn restore(mut self, checkpoint: &[u8]) -> Result<Self> {
        let mut r = Reader::tagged("the checkpoint", TAG, checkpoint)?;
        if r.number()? != self.job.seed || r.number()? != self.gains.len() as u64 {
            return Err(r.damaged("it is of another job"));
        }
        (self.stage, self.epoch, self.batch) = (r.number()?, r.number()?, r.number()?);
        self.finished = r.number()? != 0;
        let steps = r.number()?;
        let sizes: Vec<usize> = self.network.variables().map(|v| v.elem_count()).collect();
        let lists = |r: &mut Reader<'_>| -> Result<Vec<Vec<f32>>> {
            let mut out = Vec::new();
            for size in &sizes {
                let list = r.floats()?;
                if list.len() != *size {
                    return Err(r.damaged("its network has other sizes"));
                }
                out.push(list);
            }
            Ok(out)
        };
        self.network = SideNetwork::from_values(self.job.shape, &lists(&mut r)?)?;
        self.optimiser = AdamW { steps, first: lists(&mut r)?, second: lists(&mut r)? };
        let gains = r.floats()?;
        if gains.len() != self.gains.len() || self.stage > self.folds() {
            return Err(r.damaged("it is of another job"));
        }
        self.gains = gains;
        let folds = r.number()?.min(self.folds());
        self.epochs = (0..folds).map(|_| r.number()).collect::<Result<_>>()?;
        let last = (r.real()?, r.real()?);
        self.last = (!last.0.is_nan()).then_some(last);
        if r.number()? != 0 {
            let (cost, epoch, gains) = (r.real()?, r.number()?, r.floats()?);
            let values = if r.number()? == 0 { Vec::new() } else { lists(&mut r)? };
            self.best = Some(Best { cost, epoch, gains, values });
        }
        r.end()?;
        if self.in_final() {
            self.gate = self.fit_gate()?;
        }
        Ok(self)
    }
}
