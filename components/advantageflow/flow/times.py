"""Random training times t in [0, 1]: uniform, stratified or logit-normal."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TimeSampling = Literal["uniform", "stratified", "logit_normal"]
Times = Float[Tensor, " batch"]


def sample_times(count: int, sampling: TimeSampling, generator: torch.Generator) -> Times:
    """Times of `count` samples, float32 on the generator's device.

    'uniform' draws each t from U[0, 1). 'stratified' puts one sample into each of `count` equal intervals, in random
    order: each t is still U[0, 1), and the mean over the batch has less variance. 'logit_normal' draws
    `sigmoid(N(0, 1))`, which favours the middle (Stable Diffusion 3, arXiv 2403.03206, section 3.1).
    """
    device = generator.device
    if sampling == "logit_normal":
        return torch.sigmoid(torch.randn(count, generator=generator, device=device))
    uniform = torch.rand(count, generator=generator, device=device)
    if sampling == "uniform":
        return uniform
    stratum = torch.randperm(count, generator=generator, device=device)
    return (stratum + uniform) / count
