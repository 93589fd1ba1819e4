"""Advantages: how much better a rollout is than the others of its group, by one reward or by several at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

AdvantageScale = Literal["centred", "group", "global"]
Combination = Literal["sum", "normalised_sum", "gradient_aligned", "minimum_norm"]
Grouped = Float[Tensor, "groups group_size"]
GroupedMask = Bool[Tensor, "groups group_size"]
GroupMask = Bool[Tensor, " groups"]
Scalar = Float[Tensor, ""]

EQUAL_TOLERANCE = 8.0  # rewards this many rounding errors apart are equal: noise must not become an advantage
PRECISION = torch.finfo(torch.float32).eps  # of the models that score, whatever the dtype that scores are kept in


@dataclass(frozen=True)
class Advantages:
    """Advantages of a batch of groups."""

    values: Grouped  # A in [-1, 1], of the shape of the rewards
    equal_groups: GroupMask  # groups whose rewards are all equal, which teach nothing (A = 0)
    clipped_share: Scalar  # share of rollouts whose advantage was clipped

    @property
    def equal_share(self) -> Scalar:
        """Share of groups whose rewards are all equal."""
        return self.equal_groups.to(self.values.dtype).mean()


@dataclass(frozen=True)
class Term:
    """One of several rewards that are maximised together."""

    rewards: Grouped  # finite, higher is better (the negated values of a reward of which lower is better)
    weight: float = 1.0  # of this term in the sum, above 0
    minimum: float | None = None  # the worst acceptable reward; None accepts any


def group_advantages(rewards: Grouped, *, scale: AdvantageScale, clip: float, floor: float = 0.0) -> Advantages:
    """`A = clip((r - mean_group r) / (s + f), -k, k) / k`, in [-1, 1]; at f = 0 unchanged when rewards are scaled.

    Before clipping A has mean zero in each group. A group whose rewards are equal up to rounding has A = 0.

    Args:
        rewards: finite rewards; float64 recommended.
        scale: s is the root mean square of all centred rewards `r - mean_group r` of the batch ('centred', as the
            paper), or the (population) standard deviation of each 'group' or of all rewards of the batch, differences
            between groups included ('global', as DiffusionNFT and Flow-GRPO).
        clip: k > 0, in standard deviations.
        floor: f >= 0; released code of the peers has 1e-4, which keeps noise of nearly equal rewards small.
    """
    standardised, equal = _standardised(rewards, scale, floor)
    return Advantages(
        values=standardised.clamp(-clip, clip) / clip,
        equal_groups=equal,
        clipped_share=(standardised.abs() > clip).to(rewards.dtype).mean(),
    )


def combined_advantages(
    terms: Sequence[Term], *, combine: Combination, scale: AdvantageScale, clip: float, floor: float = 0.0
) -> Advantages:
    """Advantages in [-1, 1] of several rewards r_k with weights w_k.

    'sum': group_advantages of `C = sum_k w_k r_k`. A reward counts by its weight times its spread, so its units matter:
    kilobytes of some thousands drown what lies in [0, 1]. One term alone is a sum of one, whatever its weight.

    'normalised_sum' (GDPO, Liu et al., arXiv 2601.05242): `C = sum_k w_k (r_k - mean_group r_k) / s_k`, s_k as `scale`
    says; then, within the whole batch, divided by the standard deviation, which otherwise would grow with the number of
    terms; then clipped as one reward's. It stays as it is when any reward is shifted or scaled, and rollouts with equal
    sums but unlike rewards keep unlike advantages. A group whose C are all equal teaches nothing (A = 0).

    The others are normalised sums too: their weights follow the rewards' gradients, which training knows.

    Where terms have a minimum, rollouts below it are placed below all others of their group: see `constrained`.
    Clipping may make ties of that order, never the reverse.

    Args:
        terms: one or more, of equal shape; float64 recommended.
        scale, floor: as in group_advantages; of 'normalised_sum', for the terms' own normalisation.
        clip: k > 0, in standard deviations.
    """
    if len(terms) == 1 and terms[0].minimum is None:
        return group_advantages(terms[0].rewards, scale=scale, clip=clip, floor=floor)
    if combine == "sum" or len(terms) == 1:
        total = _weighted_sum([term.rewards for term in terms], terms)
        return group_advantages(constrained(total, terms), scale=scale, clip=clip, floor=floor)
    total = _weighted_sum([_standardised(term.rewards, scale, floor)[0] for term in terms], terms)
    total = constrained(total, terms)
    # Constraints move group means; without them these are 0 already, and so is GDPO's mean of the batch.
    return group_advantages(total - total.mean(1, keepdim=True), scale="global", clip=clip)


def constrained(combined: Grouped, terms: Sequence[Term]) -> Grouped:
    """Combined rewards C in which every rollout below a minimum ranks below all of its group that meet every minimum.

    With u the standard deviation of C over the batch, a violating rollout of a group gets

        (lowest C of the group's rollouts that violate nothing) - u (1 + x),   x in [0, 1]

    where x is its violation, 0 for the group's least and 1 for its worst violator, linear in between (0 where they are
    alike). Its violation is `sum_k max(0, m_k - r_k) / sd_k`, sd_k the standard deviation of r_k over the batch. Where
    a whole group violates, the group's mean of C takes the lowest's place, so violation alone ranks it: the way back to
    acceptable images is what such a group teaches. C is left as it is where nothing is violated.

    Unlike with a penalty `r - mu * violation`, nothing has to be tuned to the reward's units: the order holds by
    construction, the gap is one to two standard deviations, and shifting or scaling a reward together with its minimum
    changes nothing.
    """
    wrong = violates(terms)
    if not wrong.any():
        return combined
    violation = torch.stack([_violation(term) for term in terms]).sum(0)
    least = violation.masked_fill(~wrong, torch.inf).amin(1, keepdim=True)
    worst = violation.masked_fill(~wrong, -torch.inf).amax(1, keepdim=True)
    span = worst - least
    x = torch.where(span > rounding(violation), (violation - least) / span, 0.0)
    lowest = combined.masked_fill(wrong, torch.inf).amin(1, keepdim=True)
    lowest = torch.where(wrong.all(1, keepdim=True), combined.mean(1, keepdim=True), lowest)
    deviation = combined.std(correction=0)
    unit = torch.where(deviation > rounding(combined).amax(), deviation, 1.0)  # any will do where C is all the same
    return torch.where(wrong, lowest - unit * (1 + x), combined)


def violates(terms: Sequence[Term]) -> GroupedMask:
    """Which rollouts lie below the minimum of any term, by more than rounding."""
    return torch.stack([_shortfall(term) > 0 for term in terms]).any(0)


def _standardised(rewards: Grouped, scale: AdvantageScale, floor: float) -> tuple[Grouped, GroupMask]:
    """`(r - mean_group r) / (s + f)`, 0 in groups of rewards equal up to rounding; and which groups these are."""
    spread = rewards.amax(1) - rewards.amin(1)
    equal = spread <= rounding(rewards)[:, 0]
    centred = (rewards - rewards.mean(1, keepdim=True)).masked_fill(equal[:, None], 0.0)
    if scale == "centred":
        deviation = centred.square().mean().sqrt()
    else:
        deviation = rewards.std(1, correction=0, keepdim=True) if scale == "group" else rewards.std(correction=0)
    # A zero deviation only meets zero numerators; the mask keeps 0 / 0 out.
    return torch.where(centred == 0, 0.0, centred / (deviation + floor)), equal


def _weighted_sum(values: Sequence[Grouped], terms: Sequence[Term]) -> Grouped:
    """`sum_k w_k v_k`; groups in which it is equal up to the rounding of its parts become exactly equal.

    Terms may cancel: what is left is rounding, which is tiny beside the parts but not beside itself.
    """
    parts = torch.stack([term.weight * value for term, value in zip(terms, values, strict=True)])
    total = parts.sum(0)
    tolerance = rounding(parts.abs().sum(0))
    equal = total.amax(1, keepdim=True) - total.amin(1, keepdim=True) <= tolerance
    return torch.where(equal, total[:, :1], total)


def _shortfall(term: Term) -> Grouped:
    """`max(0, m - r)`, 0 where that is rounding."""
    if term.minimum is None:
        return torch.zeros_like(term.rewards)
    shortfall = term.minimum - term.rewards
    tolerance = EQUAL_TOLERANCE * PRECISION * abs(term.minimum)
    return torch.where(shortfall > tolerance, shortfall, 0.0)


def _violation(term: Term) -> Grouped:
    """How far below its minimum, in standard deviations of the batch; 0 where all of the batch are alike."""
    deviation = term.rewards.std(correction=0)
    return torch.where(deviation > rounding(term.rewards).amax(), _shortfall(term) / deviation, 0.0)


def rounding(values: Grouped) -> Float[Tensor, "groups 1"]:
    """How far apart values of a group may be and still count as equal."""
    return EQUAL_TOLERANCE * PRECISION * values.abs().amax(1, keepdim=True)
