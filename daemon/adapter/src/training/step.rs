//! One optimiser step, and the losses of turns without one.

use super::candidates::{Candidates, add};
use super::read::LOGITS_AT_ONCE;
use super::{Training, WARM_START};
use crate::error::Result;
use crate::job::Objective;
use crate::loss::{Fixed, gradient, score};
use crate::memory::Mixed;
use crate::optimiser::schedule;
use crate::rng::Rng;
use crate::side::Dropout;
use crate::simd::log_softmax;
use aside_codec::State;
use candle_core::{Device, Tensor};

/// Losses of one token in nats, with its lesson weight.
pub(super) struct Loss {
    pub(super) base: f64,
    pub(super) open: f64,
    pub(super) weight: f64,
}

/// Tokens of several turns, one behind the other.
struct Gathered<'a> {
    taps: Tensor,
    z: Tensor,
    targets: Vec<u32>,
    base: Vec<f32>,
    mixed: Vec<Mixed>,
    /// None where all rows are computed.
    candidates: Vec<&'a Candidates>,
    weights: Vec<f32>,
}

impl Training<'_> {
    fn gather(&self, numbers: &[usize]) -> Result<Gathered<'_>> {
        let shape = self.job.shape;
        let mut states = State::default();
        let (mut targets, mut base, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let (mut mixed, mut candidates) = (Vec::new(), Vec::new());
        for known in numbers.iter().filter_map(|n| self.data.turns().get(*n)) {
            known.turn.states.decode_into(0..known.turn.targets.len(), &mut states);
            targets.extend_from_slice(&known.turn.targets);
            base.extend_from_slice(&known.base);
            mixed.extend_from_slice(&known.mixed);
            candidates.extend(&known.candidates);
            weights.extend(std::iter::repeat_n(known.turn.weight, known.turn.targets.len()));
        }
        let n = targets.len();
        mixed.resize(n, Mixed::default());
        let State { taps, z } = states;
        let taps = Tensor::from_vec(taps, (n, shape.layer_taps * shape.hidden), &Device::Cpu)?;
        let z = Tensor::from_vec(z, (n, shape.hidden), &Device::Cpu)?;
        Ok(Gathered { taps, z, targets, base, mixed, candidates, weights })
    }

    /// g, and the hidden state that the head sees at open positions.
    fn open_hidden(&self, batch: &Gathered<'_>, dropout: Option<&mut Dropout>) -> Result<(Tensor, Tensor)> {
        let g = self.network.forward(&batch.taps, &batch.z, dropout)?;
        let hidden = if self.job.variant.integrates() { (&g + &batch.z)? } else { g.clone() };
        Ok((g, hidden))
    }

    pub(super) fn train_on(&mut self, numbers: &[usize], batches: u64) -> Result<()> {
        let settings = &self.job.settings;
        let place = [3, self.stage, self.epoch, self.batch];
        let mut dropout = Dropout { rate: settings.dropout, rng: Rng::at(self.job.seed, &place) };
        let batch = self.gather(numbers)?;
        let (g, hidden) = self.open_hidden(&batch, Some(&mut dropout))?;
        let total = self.stage_epochs() * batches;
        let at = self.epoch * batches + self.batch;
        let p = self.probabilities(&batch, at, total)?;
        let kappa = settings.kappa_for(self.gains.len()) as f32;
        let downstream = if batch.candidates.is_empty() {
            self.hidden_gradient(&batch, &hidden.detach(), &p, kappa)?
        } else {
            self.candidate_gradient(&batch, &g.detach(), &p, kappa)?
        };
        let gradients = (g * downstream)?.sum_all()?.backward()?;
        self.optimiser.step(&self.network, &gradients, settings.rate * schedule(at, total))
    }

    /// p of the objective: 1 in the folds, at the start of the final stage and where no gate decides.
    fn probabilities(&self, batch: &Gathered<'_>, at: u64, total: u64) -> Result<Vec<f32>> {
        let warm = (at as f64) < WARM_START * total as f64;
        match &self.gate {
            Some(gate) if !warm && self.job.settings.objective != Objective::Straight => {
                let z = batch.z.flatten_all()?.to_vec1::<f32>()?;
                Ok(z.chunks_exact(self.job.shape.hidden).map(|z| gate.probability(z)).collect())
            }
            _ => Ok(vec![1.0; batch.targets.len()]),
        }
    }

    /// dL/dhidden through the frozen head, some rows at a time, on detached tensors: exact, and W stays out of the
    /// graph.
    fn hidden_gradient(
        &self,
        batch: &Gathered<'_>,
        hidden: &Tensor,
        p: &[f32],
        kappa: f32,
    ) -> Result<Tensor> {
        let vocab = self.job.shape.vocab;
        let rows = (LOGITS_AT_ONCE / vocab).max(1);
        let total: f32 = batch.weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        let wide = self.head.wide()?;
        let mut pieces = Vec::new();
        for start in (0..batch.targets.len()).step_by(rows) {
            let count = rows.min(batch.targets.len() - start);
            // As served: the same kernel, the same logits.
            let logits_of = |x: &Tensor| -> Result<Vec<f32>> {
                self.head.logits(&x.narrow(0, start, count)?.flatten_all()?.to_vec1::<f32>()?)
            };
            let mut logits = logits_of(hidden)?;
            let anchored = kappa > 0.0 && p.iter().skip(start).take(count).any(|p| *p < 1.0);
            let mut base = if anchored { logits_of(&batch.z)? } else { Vec::new() };
            for (row, logits) in logits.chunks_exact_mut(vocab).enumerate() {
                let token = start + row;
                let known = (batch.targets.get(token), batch.base.get(token), batch.mixed.get(token));
                let (Some(target), Some(base_target), Some(mixed)) = known else { break };
                let base_row = base.get_mut(row * vocab..(row + 1) * vocab).map(|r| {
                    log_softmax(r);
                    &*r
                });
                let scale = batch.weights.get(token).copied().unwrap_or(0.0) / total;
                let p = p.get(token).copied().unwrap_or(1.0);
                let none = Mixed::default();
                let mixed = if self.job.settings.joint { mixed } else { &none };
                let expected = self.job.settings.objective == Objective::Expected;
                let (base_target, target) = (*base_target, *target);
                let fixed = Fixed { base: base_row, base_target, target, mixed, expected };
                gradient(logits, &fixed, p, kappa, scale);
            }
            pieces.push(Tensor::from_vec(logits, (count, vocab), &Device::Cpu)?.matmul(wide)?);
        }
        Ok(Tensor::cat(&pieces, 0)?)
    }

    /// The same over candidate rows: dL/dg from g (n x H).
    fn candidate_gradient(&self, batch: &Gathered<'_>, g: &Tensor, p: &[f32], kappa: f32) -> Result<Tensor> {
        let hidden = self.job.shape.hidden;
        let total: f32 = batch.weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        let g = g.flatten_all()?.to_vec1::<f32>()?;
        let mut out = vec![0.0; g.len()];
        let mut rows = Vec::new();
        let places = g.chunks_exact(hidden).zip(out.chunks_exact_mut(hidden));
        for (token, ((g, sum), candidates)) in places.zip(&batch.candidates).enumerate() {
            rows.clear();
            candidates.rows_into(self.head, &mut rows)?;
            let mut logits = candidates.logits(&rows, g);
            let scale = batch.weights.get(token).copied().unwrap_or(0.0) / total;
            let p = p.get(token).copied().unwrap_or(1.0);
            let mixed = batch.mixed.get(token).filter(|_| self.job.settings.joint);
            let fixed = Fixed {
                base: Some(&candidates.base),
                base_target: batch.base.get(token).copied().unwrap_or(f32::NEG_INFINITY),
                target: batch.targets.get(token).map_or(0, |target| candidates.place(*target)),
                mixed: &mixed.map(|mixed| candidates.placed(mixed)).unwrap_or_default(),
                expected: self.job.settings.objective == Objective::Expected,
            };
            gradient(&mut logits, &fixed, p, kappa, scale);
            rows.chunks_exact(hidden).zip(&logits).for_each(|(row, slope)| add(sum, row, *slope));
        }
        Ok(Tensor::from_vec(out, (batch.targets.len(), hidden), &Device::Cpu)?)
    }

    /// Losses of turns by number, without dropout.
    pub(super) fn losses(&self, numbers: &[usize]) -> Result<Vec<Loss>> {
        let mut out = Vec::new();
        for group in numbers.chunks(16) {
            let batch = self.gather(group)?;
            let (g, hidden) = self.open_hidden(&batch, None)?;
            let open = if batch.candidates.is_empty() {
                self.open_losses(&batch, &hidden.detach())?
            } else {
                self.candidate_losses(&batch, &g.detach())?
            };
            let losses = open.into_iter().zip(&batch.base).zip(&batch.weights);
            out.extend(losses.map(|((open, base), weight)| Loss {
                base: -f64::from(*base),
                open,
                weight: f64::from(*weight),
            }));
        }
        Ok(out)
    }

    fn open_losses(&self, batch: &Gathered<'_>, hidden: &Tensor) -> Result<Vec<f64>> {
        let vocab = self.job.shape.vocab;
        let rows = (LOGITS_AT_ONCE / vocab).max(1);
        let mut out = Vec::new();
        for start in (0..batch.targets.len()).step_by(rows) {
            let count = rows.min(batch.targets.len() - start);
            let hidden = hidden.narrow(0, start, count)?.flatten_all()?.to_vec1::<f32>()?;
            let logits = self.head.logits(&hidden)?;
            let tokens = batch.targets.iter().zip(&batch.mixed).skip(start);
            let each = logits.chunks_exact(vocab).zip(tokens);
            out.extend(each.map(|(row, (target, mixed))| -score(row, *target as usize, mixed).0));
        }
        Ok(out)
    }

    fn candidate_losses(&self, batch: &Gathered<'_>, g: &Tensor) -> Result<Vec<f64>> {
        let g = g.flatten_all()?.to_vec1::<f32>()?;
        let (mut out, mut rows) = (Vec::new(), Vec::new());
        let tokens = batch.candidates.iter().zip(&batch.targets).zip(&batch.mixed);
        for (g, ((candidates, target), mixed)) in g.chunks_exact(self.job.shape.hidden).zip(tokens) {
            rows.clear();
            candidates.rows_into(self.head, &mut rows)?;
            let logits = candidates.logits(&rows, g);
            let target = candidates.place(*target) as usize;
            out.push(-score(&logits, target, &candidates.placed(mixed)).0);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, Part, Settings, Turn};
    use crate::{Shape, Variant};
    use aside_codec::States;
    use candle_core::{D, Var};

    const SHAPE: Shape = Shape { hidden: 32, vocab: 40, layer_taps: 1, rank: 4 };

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::at(seed, &[]);
        (0..count).map(|_| rng.normal() as f32).collect()
    }

    /// The whole objective by autograd through the head, as a plain program would write it.
    fn by_autograd(
        training: &Training<'_>,
        batch: &Gathered<'_>,
        at: &Tensor,
        p: &[f32],
        kappa: f32,
    ) -> Vec<f32> {
        let hidden = Var::from_tensor(at).unwrap();
        let log_softmax = |x: &Tensor| {
            let logits = x.matmul(&training.head.wide().unwrap().t().unwrap()).unwrap();
            candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap()
        };
        let (base, side) = (log_softmax(&batch.z).detach(), log_softmax(&hidden));
        let n = p.len();
        let share = |(row, token): (usize, usize)| batch.mixed[row].m * batch.mixed[row].share(token as u32);
        let places = (0..n).flat_map(|row| (0..SHAPE.vocab).map(move |token| (row, token)));
        let voted = Tensor::from_iter(places.map(share), &Device::Cpu).unwrap();
        let voted = voted.reshape((n, SHAPE.vocab)).unwrap();
        let own = Tensor::from_iter(batch.mixed.iter().map(|mixed| 1.0 - mixed.m), &Device::Cpu).unwrap();
        let own = own.reshape((n, 1)).unwrap();
        let open = (side.exp().unwrap().broadcast_mul(&own).unwrap() + voted).unwrap().log().unwrap();
        let ids = Tensor::from_slice(&batch.targets, (n, 1), &Device::Cpu).unwrap();
        let of_target = |x: &Tensor| x.gather(&ids, 1).unwrap().squeeze(1).unwrap().exp().unwrap();
        let p = Tensor::from_slice(p, n, &Device::Cpu).unwrap();
        let closed = p.affine(-1.0, 1.0).unwrap();
        let mix = ((&closed * of_target(&base)).unwrap() + (&p * of_target(&open)).unwrap()).unwrap();
        let kl = (base.exp().unwrap() * (&base - &open).unwrap()).unwrap().sum(1).unwrap();
        let anchor = (closed * kl).unwrap().affine(f64::from(kappa), 0.0).unwrap();
        let loss = (anchor - mix.log().unwrap()).unwrap();
        let weights = Tensor::from_slice(&batch.weights, n, &Device::Cpu).unwrap();
        let total = batch.weights.iter().sum::<f32>();
        let loss = ((loss * weights).unwrap().sum_all().unwrap() / f64::from(total)).unwrap();
        let gradients = loss.backward().unwrap();
        gradients.get(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn job(candidates: Option<usize>) -> Job {
        let turn = |weight: f32, seed: u64| Turn {
            conversation: seed,
            own: true,
            weight,
            part: Part::Train,
            targets: (0..6).map(|i| (i * 7 + seed as u32) % 37).collect(),
            states: States::encode(SHAPE.layout(), &numbers(6 * 32, seed), &numbers(6 * 32, seed + 10)),
        };
        let settings = Settings { candidates, ..Settings::default() };
        let turns = vec![turn(1.0, 1), turn(0.5, 2)];
        Job { shape: SHAPE, variant: Variant::Spa, settings, turns, parent: None, starter: None, seed: 1 }
    }

    /// Both turns; some votes are for the target, some are not, one has no say.
    fn gathered<'a>(training: &'a Training<'_>) -> Gathered<'a> {
        let mut batch = training.gather(&[0, 1]).unwrap();
        for (i, (mixed, target)) in (0u8..).zip(batch.mixed.iter_mut().zip(&batch.targets)) {
            let voted = vec![(target + u32::from(i % 2), 0.4), (39, 0.6)];
            *mixed = Mixed { m: f32::from(i) / 14.0, votes: voted };
        }
        batch
    }

    #[test]
    fn candidate_rows_are_exact_where_g_is_small() {
        let head = crate::head::tests::random(SHAPE.vocab, SHAPE.hidden, 4);
        let p: Vec<f32> = (0..12u8).map(|i| f32::from(i) / 11.0).collect();
        let direction = Tensor::from_vec(numbers(12 * 32, 30), (12, 32), &Device::Cpu).unwrap();
        // Largest difference of the gradient, relative to its largest value, at a g of this size.
        let error = |most: usize, size: f64| {
            let job = job(Some(most));
            let training = Training::new(&job, &head).unwrap();
            let mut batch = gathered(&training);
            // Tokens voted for are candidates; of these two the memory of this test knows only the targets.
            let targets = batch.mixed.iter_mut().zip(&batch.targets);
            targets.for_each(|(mixed, target)| mixed.votes = vec![(*target, 1.0)]);
            let g = (&direction * size).unwrap();
            let exact = training.hidden_gradient(&batch, &(&batch.z + &g).unwrap(), &p, 0.3).unwrap();
            let found = training.candidate_gradient(&batch, &g, &p, 0.3).unwrap();
            let flat = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (exact, found) = (flat(exact), flat(found));
            let largest = exact.iter().fold(0f32, |m, v| m.max(v.abs()));
            exact.iter().zip(&found).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
        };
        // With one token outside, "the others" are that token; else the error falls with g.
        assert!(error(39, 1.0) < 1e-3, "{}", error(39, 1.0));
        let errors = [error(12, 0.005), error(12, 0.05), error(12, 0.5)];
        assert!(errors[0] < 0.005 && errors[1] < 0.05 && errors[2] < 0.2, "{errors:?}");
    }

    #[test]
    fn the_gradient_by_hand_is_that_of_autograd_through_the_head() {
        let head = crate::head::tests::random(SHAPE.vocab, SHAPE.hidden, 4);
        let job = job(None);
        let training = Training::new(&job, &head).unwrap();
        let batch = gathered(&training);
        let at =
            (&batch.z + Tensor::from_vec(numbers(12 * 32, 30), (12, 32), &Device::Cpu).unwrap()).unwrap();
        let mixed: Vec<f32> = (0..12u8).map(|i| f32::from(i) / 11.0).collect();
        for (p, kappa) in [(vec![1.0; 12], 0.3), (mixed.clone(), 0.0), (mixed, 0.3)] {
            let found = training.hidden_gradient(&batch, &at, &p, kappa).unwrap();
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let expected = by_autograd(&training, &batch, &at, &p, kappa);
            let largest = expected.iter().fold(0f32, |m, g| m.max(g.abs()));
            assert!(largest > 1e-3);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4 * largest, "{found} {expected}");
            }
        }
    }
}
