"""AdvantageFlow's regularisation lam in the course of a round: fixed, or following how far the policy has moved."""

from __future__ import annotations

import math
from collections.abc import Mapping

from advantageflow.settings import TrainingSettings

SAFE_LAM = 1.0  # convex for every sample, as advantages lie in [-1, 1]
STIFFNESS = 1.0  # curvature that is kept where the policy has moved by as much as its velocities are noisy


class LamSchedule:
    """lam for the next optimiser step; this one never changes.

    Attributes:
        value: lam, at least 0.
    """

    def __init__(self, value: float) -> None:
        self.value = value

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Told the metrics of each optimiser step, after it."""


class CubicLam(LamSchedule):
    """The smallest lam that keeps the batch objective convex the way the policy moves, with a margin that grows on it.

    With u = v_theta - v_roll and e = v - v_roll, AdvantageFlow's batch objective is, but for a constant,

        E[w (A + lam) |u|^2] - 2 E[w A u . e]

    Along the ray s u, from the rollout policy through the policy as it is now, its second derivative is exactly

        2 E[w (A + lam) |u|^2] = 2 (lam + rho) E[w |u|^2],     rho = E[w A |u|^2] / E[w |u|^2] in [-1, 1]

    so it is bounded below on that ray exactly when lam > -rho. With many steps on one batch the policy comes to deviate
    where it is pushed away from bad samples (the minimiser of one sample, A e / (lam + A), grows without bound as A
    falls to -lam), so rho falls below 0 and more is needed.

    What to add to -rho? A constant margin is too much while the policy is still near, where the step is short anyway,
    and too little once it is far. So the margin is in proportion to the distance, in units of the velocities' noise:

        lam = STIFFNESS d - rho,     d^2 = E[w |u|^2] / E[w |v_theta - v|^2]

    (d tends to 1 as |u| outgrows the noise). While |u| is small, lam |u|^2 with lam in proportion to |u| has the
    gradient of the cubic penalty (2 / 3) STIFFNESS |u|^3 / |noise|, as in cubically regularised steps (Nesterov and
    Polyak, 2006). Near the rollout policy it is next to nothing, so that the first steps go as far as the advantages
    carry them; and the curvature is above 0 at every distance, whatever the advantages, so that the gradient far out
    points back.

    rho and d are free of the rewards' scale (A is normalised) and of the velocities', cost no evaluation of the model,
    and are measured anew in each step for the next one. The first step of a round has u = 0, where lam has no effect;
    the second takes 1, which is safe for every sample. Nothing is carried from round to round.

    Args:
        least: lam never falls below it (the share of lam that is plain flow matching).
    """

    def __init__(self, least: float = 0.0) -> None:
        super().__init__(max(SAFE_LAM, least))
        self._least = least

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take rho and d from the means 'advantage_deviation', 'weighted_deviation' and 'weighted_error'."""
        deviation = metrics["weighted_deviation"]
        if deviation > 0:
            rho = metrics["advantage_deviation"] / deviation
            distance = math.sqrt(deviation / metrics["weighted_error"])
            self.value = max(STIFFNESS * distance - rho, self._least)


def lam_schedule(settings: TrainingSettings) -> LamSchedule:
    """The schedule that `training.lam` names, for one round."""
    return CubicLam(settings.data_weight) if settings.lam == "auto" else LamSchedule(settings.lam)
