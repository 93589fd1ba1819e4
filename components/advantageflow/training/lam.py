"""AdvantageFlow's regularisation lam in the course of a round: fixed, or measured by the curvature of the objective."""

from __future__ import annotations

from collections.abc import Mapping

from advantageflow.settings import TrainingSettings

SAFE_LAM = 1.0  # convex for every sample, as advantages lie in [-1, 1]
MARGIN = 0.5  # curvature that is kept, half of what lam = 1 has where advantages and deviations are unrelated


class LamSchedule:
    """lam for the next optimiser step; this one never changes.

    Attributes:
        value: lam, at least 0.
    """

    def __init__(self, value: float) -> None:
        self.value = value

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Told the metrics of each optimiser step, after it."""


class ConvexLam(LamSchedule):
    """The smallest lam that keeps the batch objective convex in the direction the policy has moved, with a margin.

    With u = v_theta - v_roll and e = v - v_roll, AdvantageFlow's batch objective is, but for a constant,

        E[w (A + lam) |u|^2] - 2 E[w A u . e]

    Along the ray s u, from the rollout policy through the policy as it is now, its second derivative is exactly

        2 E[w (A + lam) |u|^2] = 2 (lam + rho) E[w |u|^2],     rho = E[w A |u|^2] / E[w |u|^2] in [-1, 1]

    so it is bounded below on that ray exactly when lam > -rho. On-policy, A says nothing of where the policy deviates,
    and rho is about 0. With many steps on one batch the policy comes to deviate where it is pushed away from bad
    samples (the minimiser of one sample, A e / (lam + A), grows without bound as A falls to -lam), so rho falls toward
    -1 and more is needed. `lam = MARGIN - rho` keeps the curvature at MARGIN E[w |u|^2].

    rho is free of the rewards' scale (A is normalised) and of the velocities', costs no evaluation, and is measured
    anew in each step for the next one. The first step of a round has u = 0, where lam has no effect; the second takes
    1, which is safe for every sample. Nothing is carried from round to round.

    Args:
        least: lam never falls below it (the share of lam that is plain flow matching).
    """

    def __init__(self, least: float = 0.0) -> None:
        super().__init__(max(SAFE_LAM, least))
        self._least = least

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take rho from 'advantage_deviation' E[w A |u|^2] and 'weighted_deviation' E[w |u|^2]."""
        if metrics["weighted_deviation"] > 0:
            rho = metrics["advantage_deviation"] / metrics["weighted_deviation"]
            self.value = max(MARGIN - rho, self._least)


def lam_schedule(settings: TrainingSettings) -> LamSchedule:
    """The schedule that `training.lam` names, for one round."""
    return ConvexLam(settings.data_weight) if settings.lam == "auto" else LamSchedule(settings.lam)
