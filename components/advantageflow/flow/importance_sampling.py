"""Which samples are trained on: those that teach most, or draws in proportion to that.

The draws are importance sampling: they are weighted so that the gradient is unbiased. Leaving out the middle of each
group (PODS, Xu et al., arXiv 2504.13818) makes another gradient, of samples that all teach.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PerSample = Float[Tensor, " samples"]

Grouped = Float[Tensor, "groups group_size"]

EVEN = 0.3  # share of the draws that falls on all samples alike: a weight is at most its inverse


def most_telling(advantages: Grouped, count: int) -> Int[Tensor, " kept"]:
    """The `count` rollouts of each group whose |A| are largest, in order: rollout i is of group i // group_size."""
    groups, size = advantages.shape
    kept = advantages.abs().topk(count, dim=1).indices.sort(dim=1).values
    return (kept + size * torch.arange(groups)[:, None]).flatten()


def sampling_probabilities(advantages: PerSample) -> PerSample:
    """`p_i = EVEN / N + (1 - EVEN) |A_i| / sum |A|`; uniform where no sample has an advantage. Float64."""
    sizes = advantages.double().abs()
    total = sizes.sum()
    even = torch.full_like(sizes, 1 / len(sizes))
    return EVEN * even + (1 - EVEN) * sizes / total if total > 0 else even


def systematic_draws(probabilities: PerSample, count: int, offset: float) -> Int[Tensor, " draws"]:
    """`count` draws, in order: sample i `floor(count p_i)` times or once more, and `count p_i` times on average.

    The only randomness is `offset`, uniform in [0, 1).
    """
    points = (torch.arange(count, dtype=torch.float64) + offset) / count
    return torch.searchsorted(probabilities.cumsum(0), points, right=True).clamp_max(len(probabilities) - 1)


def importance_weights(probabilities: PerSample) -> PerSample:
    """`1 / (N p_i)`: the mean over draws of weighted gradients is, on average, the mean gradient of all samples."""
    return 1 / (len(probabilities) * probabilities)
