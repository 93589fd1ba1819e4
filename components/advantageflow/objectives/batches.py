"""What objectives judge: velocities at noised rollouts, or transitions of trajectories; and what their losses share.

Settings are made of objectives' options, on machines that do not train: nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from advantageflow.flow.sde import Transition

    Velocities = Float[Tensor, "batch *element"]
    PerSample = Float[Tensor, " batch"]
    Mask = Bool[Tensor, " batch"]
    Scalar = Float[Tensor, ""]
else:
    Velocities = PerSample = Mask = Scalar = Any

LossAndMetrics = tuple[Scalar, dict[str, Scalar]]
Metrics = dict[str, float]
"""Of an optimiser step, or of a round."""

_UNDECLARED = "the loss reads the base model, which the objective's needs do not say: give Needs(reference=True)"

ERROR_FLOOR = 1e-5  # smallest mean absolute error that a sample is divided by, as in the peers' adaptive weighting


@dataclass(frozen=True)
class VelocityBatch:
    """Velocities of samples at their points `x_t = (1 - t) x_0 + t eps`: the forward process."""

    policy: Velocities  # v_theta, with gradient
    target: Velocities  # v = eps - x_0 of the rollout x_0
    rollout: Velocities  # v_roll, the velocity of the policy that generated the rollouts; without gradient
    advantages: PerSample  # A of each sample, in [-1, 1]
    times: PerSample  # t of each sample, in [0, 1]
    # v_ref, the velocity of the base model; without gradient. None where nobody needs it.
    reference: Velocities | None = None
    average: Velocities | None = None  # v_avg, the velocity of the moving average of the trained policy; likewise
    deviations: float = 1.0  # how many standard deviations of the rewards an advantage of 1 is
    # metrics of the round's optimiser step before; empty on its first
    before: Mapping[str, float] = field(default_factory=dict)
    # how many samples each stands for in a mean of what contains v_roll; 0 where the objective does not need v_roll,
    # and `rollout` is v_theta instead. None: each for itself.
    stand_for: PerSample | None = None

    @cached_property
    def error(self) -> PerSample:
        """`|v_theta - v|^2`, a mean over elements."""
        return mean_square(self.policy - self.target)

    @cached_property
    def deviation(self) -> PerSample:
        """`|v_theta - v_roll|^2`, a mean over elements."""
        return mean_square(self.policy - self.rollout)

    @cached_property
    def divergence(self) -> PerSample:
        """`|v_theta - v_ref|^2`, a mean over elements, which stands for the KL to the base model."""
        if self.reference is None:
            raise ValueError(_UNDECLARED)
        return mean_square(self.policy - self.reference)

    @cached_property
    def norm_excess(self) -> PerSample:
        """`max(0, |v_theta| - |v_ref|)^2`, norms the root mean squares over elements: 0 within the base's norm.

        What hacks a reward (textures, saturation, contrast) often comes with velocities longer than the base model's;
        NormGuard (arXiv 2606.27771) penalises these and leaves directions free.
        """
        if self.reference is None:
            raise ValueError(_UNDECLARED)
        # At 0 the root's slope is infinite.
        own, base = (mean_square(one).clamp_min(1e-30).sqrt() for one in (self.policy, self.reference))
        return (own - base).clamp_min(0).square()

    def measures(self) -> dict[str, Scalar]:
        """Means of error and deviation, detached."""
        deviation = self.deviation if self.stand_for is None else self.stand_for * self.deviation
        return {"error": self.error.mean().detach(), "deviation": deviation.mean().detach()}


@dataclass(frozen=True)
class TransitionBatch:
    """Transitions of samples, one step of a trajectory each: the reverse process."""

    policy: Transition  # distribution of the next state under the policy, with gradient
    following: Velocities  # the next state that the rollout policy drew
    rollout_log_probability: PerSample  # log p of `following` under the rollout policy
    advantages: PerSample  # A of each trajectory, in [-1, 1]
    # distribution of the next state under the base model; without gradient. None where nobody needs it.
    reference: Transition | None = None

    @cached_property
    def divergence(self) -> PerSample:
        """KL to the base model: of two Gaussians of one deviation, `|mean - mean_ref|^2 / (2 std^2)`, over elements."""
        if self.reference is None:
            raise ValueError(_UNDECLARED)
        return self.policy.divergence(self.reference)

    def measures(self) -> dict[str, Scalar]:
        """None that hold for every objective."""
        return {}


def mean_square(difference: Velocities) -> PerSample:
    """Mean of the squares over the elements of each sample."""
    return difference.flatten(1).square().mean(1)


def error_size(difference: Velocities) -> PerSample:
    """Mean absolute value over the elements of each sample, detached, at least ERROR_FLOOR."""
    return difference.detach().flatten(1).abs().mean(1).clamp_min(ERROR_FLOOR)


def clipped_ratio_loss(log_ratio: PerSample, advantages: PerSample, clip_range: float) -> tuple[PerSample, Mask]:
    """`max(-A ratio, -A clip(ratio, 1 - c, 1 + c))` of PPO (arXiv 1707.06347, eq. 7), and which ratios left the range.

    A sample whose ratio has left the range on the side that its advantage favours has no gradient. At ratio 1 the
    gradient is -A times that of the log-likelihood.

    Args:
        log_ratio: log-likelihood under the policy minus that under the rollout policy.
        advantages: A of each sample.
        clip_range: c > 0.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return (-advantages * ratio).maximum(-advantages * clipped), (ratio.detach() - 1).abs() > clip_range


def loss_and_metrics(terms: Mapping[str, PerSample], **measures: PerSample) -> LossAndMetrics:
    """The loss: the mean over samples of the sum of the terms; and, detached, means of it and of everything given.

    Args:
        terms: what the loss adds up, weights included.
        **measures: what is only reported.
    """
    loss = reduce(add, terms.values()).mean()
    means = {"loss": loss} | {name: value.mean() for name, value in {**terms, **measures}.items()}
    return loss, {name: value.detach() for name, value in means.items()}
