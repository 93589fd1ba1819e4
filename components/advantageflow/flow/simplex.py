"""Weights of several gradients: the point of a simplex of them that is nearest to a target, or to nothing."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

Gram = Float[Tensor, "gradients gradients"]
PerGradient = Float[Tensor, " gradients"]

LARGEST = 10  # gradients: all of their subsets are looked at


def nearest_on_simplex(gram: Gram, toward: PerGradient | None = None) -> PerGradient:
    """`argmin_w |sum_k w_k g_k - t|^2` over `w >= 0, sum w = 1`, exactly; of several, one with few gradients.
    Raises ValueError: there are more than LARGEST gradients.

    Without a target it is the point of minimum norm: a step along it lowers every loss, or none can be lowered without
    another rising (MGDA, Desideri 2012; Sener and Koltun, arXiv 1810.04650). The optimum is one of the subsets' own,
    each the solution of a linear system; of a few gradients these are few.

    Args:
        gram: `g_j . g_k`, float64.
        toward: `g_k . t`; None is t = 0.
    """
    count = len(gram)
    if count > LARGEST:
        raise ValueError(f"at most {LARGEST} gradients, not {count}")
    linear = torch.zeros(count, dtype=gram.dtype) if toward is None else toward
    best, lowest = torch.full((count,), 1 / count, dtype=gram.dtype), torch.inf
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            weights = _on_face(gram, linear, list(chosen))
            value = (weights @ gram @ weights - 2 * linear @ weights).item()
            if (weights >= 0).all() and value < lowest - 1e-12:  # of equals the face with the fewest
                best, lowest = weights, value
    return best


def _on_face(gram: Gram, linear: PerGradient, chosen: list[int]) -> PerGradient:
    """The least point among weights of these alone that add up to 1, whatever their signs: `2 G w - 2 c + mu = 0`."""
    size = len(chosen)
    system = torch.ones(size + 1, size + 1, dtype=gram.dtype)
    system[:size, :size], system[size, size] = gram[chosen][:, chosen], 0.0
    right = torch.cat([linear[chosen], torch.ones(1, dtype=gram.dtype)])
    weights = torch.zeros(len(gram), dtype=gram.dtype)
    weights[chosen] = (torch.linalg.pinv(system, hermitian=True) @ right)[:size]
    return weights
