"""Floating point operations of the model: what a forward, and a training sample, cost by arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from advantageflow.training.policy import Inputs, Policy


@dataclass(frozen=True)
class Flops:
    """Operations of matrix products, two for each multiply-add.

    Attributes:
        forward: of one velocity.
        training: of one training sample: v_theta forward and backward, and nothing else. Old and reference forwards and
            recomputed activations are not useful work: a loop that does them has a lower share of the peak.
    """

    forward: float
    training: float


def count_flops(policy: Policy, sample: Inputs) -> Flops:
    """Count by running one sample through the model; activations must not be recomputed meanwhile.

    Attention is counted as the two products that it consists of, whichever kernel would compute it.
    """
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            policy.velocity(sample)
        with FlopCounterMode(display=False) as training:
            policy.velocity(sample).square().mean().backward()
    policy.optimiser.zero_grad()
    return Flops(float(forward.get_total_flops()), float(training.get_total_flops()))
