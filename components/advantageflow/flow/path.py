"""The rectified-flow path between data and noise, and its velocity."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

Samples = Float[Tensor, "batch *element"]
Times = Float[Tensor, " batch"]


def interpolate(x_0: Samples, noise: Samples, t: Times) -> Samples:
    """`x_t = (1 - t) x_0 + t eps`: data at t = 0, noise at t = 1.

    Args:
        x_0: clean samples.
        noise: eps ~ N(0, I), of the shape of x_0.
        t: time of each sample, in [0, 1].
    """
    t = t.reshape(-1, *[1] * (x_0.ndim - 1))
    return (1 - t) * x_0 + t * noise


def velocity_target(x_0: Samples, noise: Samples) -> Samples:
    """`v = d x_t / dt = eps - x_0`, the same at every t: what flow matching regresses on."""
    return noise - x_0
