"""AdvantageFlow's regularisation lam in the course of a round: fixed, or measured by the curvature of the objective."""

from __future__ import annotations

import torch
from torch import Tensor

from advantageflow.flow.objectives import VelocityBatch, curvature
from advantageflow.flow.objectives.common import PerSample
from advantageflow.settings import TrainingSettings

SAFE_LAM = 1.0  # convex for every sample, as advantages lie in [-1, 1]
MARGIN = 0.25  # curvature that is kept; lam = 1 keeps 1 where advantages and deviations are unrelated
INTERVALS = 8  # of t; lam is the same within one


class LamSchedule:
    """lam for each sample of the next optimiser step; this one never changes.

    Attributes:
        least: lam, at least 0; a schedule that changes never falls below it.
    """

    def __init__(self, least: float) -> None:
        self.least = least

    def at(self, times: PerSample) -> float | PerSample:
        """lam of samples at these times t; a number where it is the same for all."""
        return self.least

    def exceeds(self, data_weight: float) -> bool:
        """Whether anything of lam is left when `data_weight` of it is plain flow matching."""
        return self.least > data_weight

    def observe(self, batch: VelocityBatch) -> None:
        """Told every microbatch, with the velocities that its loss was computed from."""

    def advance(self) -> None:
        """Told the end of each optimiser step: only now may `at` change, so that microbatches leave no trace."""


class ConvexLam(LamSchedule):
    """The smallest lam at each time t that keeps the objective convex the way the policy has moved, with a margin.

    With u = v_theta - v_roll and e = v - v_roll, AdvantageFlow's objective at time t is, but for a constant,

        E[w (A + lam) |u|^2] - 2 E[w A u . e]

    Along the ray s u, from the rollout policy through the policy as it is now, its second derivative is exactly

        2 E[w (A + lam) |u|^2] = 2 (lam + rho) E[w |u|^2],     rho(t) = E[w A |u|^2 | t] / E[w |u|^2 | t] in [-1, 1]

    so it is bounded below on that ray exactly when lam > -rho(t). Near t = 1 noise hides which rollout a sample comes
    from: A says nothing of where the policy deviates, rho is about 0, and hardly any regularisation is needed there,
    where the pictures' contents are decided. At small t the policy comes to deviate where it is pushed away from bad
    samples (the minimiser of one sample, A e / (lam + A), grows without bound as A falls to -lam), so rho is well below
    0 (-.3 to -.5 in the embedded model, t in .1 to .6) and more is needed. No constant is right for both:
    `lam(t) = MARGIN - rho(t)` keeps the curvature at MARGIN E[w |u|^2 | t].

    rho is free of the rewards' scale (A is normalised) and of the velocities', and costs no evaluation of the model.
    It is measured in equal intervals of t over the round so far, where later steps, which have moved further, weigh
    more by themselves. The first step of a round has u = 0, where lam has no effect; where nothing has been measured
    yet lam is 1, which is safe for every sample. Nothing is carried from round to round.

    Args:
        normalise_error: as in the objective, whose weights w these are.
        least: lam never falls below it (the share of lam that is plain flow matching).
    """

    def __init__(self, *, normalise_error: bool, least: float = 0.0) -> None:
        super().__init__(least)
        self._normalise_error = normalise_error
        self._measured = torch.zeros(2, INTERVALS, dtype=torch.float64)  # sums of w A |u|^2 and of w |u|^2
        self._values = torch.full((INTERVALS,), max(SAFE_LAM, least), dtype=torch.float64)

    def at(self, times: PerSample) -> PerSample:
        self._values = self._values.to(times.device)
        return self._values[_interval(times)].to(times.dtype)

    def exceeds(self, data_weight: float) -> bool:
        return True

    def observe(self, batch: VelocityBatch) -> None:
        assert batch.times is not None
        parts = torch.stack(curvature(batch, normalise_error=self._normalise_error)).double()
        self._measured = self._measured.to(parts.device).index_add(1, _interval(batch.times), parts)

    def advance(self) -> None:
        weighted, total = self._measured
        lam = (MARGIN - weighted / total).clamp_min(self.least)
        self._values = torch.where(total > 0, lam, max(SAFE_LAM, self.least))


def lam_schedule(settings: TrainingSettings) -> LamSchedule:
    """The schedule that the algorithm and `training.lam` name, for one round."""
    if settings.algorithm == "advantage_weighted":
        return LamSchedule(0.0)
    if settings.lam == "auto":
        return ConvexLam(normalise_error=settings.normalise_error, least=settings.data_weight)
    return LamSchedule(settings.lam)


def _interval(times: PerSample) -> Tensor:
    """Which interval each time lies in, from 0."""
    return (times * INTERVALS).long().clamp_(0, INTERVALS - 1)
