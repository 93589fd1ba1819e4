"""Floating point operations of the model: what a forward, and a training sample, cost by arithmetic alone."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from advantageflow.training.policy import Inputs, Policy
from advantageflow_pipelines.plan.counts import Flops


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
