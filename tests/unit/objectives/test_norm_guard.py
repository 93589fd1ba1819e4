"""The penalty on velocities that are longer than the base model's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_losses import normal, velocity_batch

from advantageflow.objectives.registry import BUILT_IN, make_objective


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 3))
def test_it_is_the_square_of_what_exceeds_the_bases_norm_and_nothing_within(seed: int, scale: float) -> None:
    base = normal(seed, 4, 6)
    rotated = base.roll(1, dims=1)  # another direction, the same norm
    policy = (scale * rotated).requires_grad_()
    batch = velocity_batch(policy, base, base, torch.zeros(4).double(), reference=base)
    size = base.square().mean(1).sqrt()
    torch.testing.assert_close(batch.norm_excess, (max(0.0, scale - 1) * size) ** 2)
    (gradient,) = torch.autograd.grad(batch.norm_excess.sum(), policy)
    assert gradient.isfinite().all()
    still = velocity_batch(torch.zeros_like(policy, requires_grad=True), base, base, policy[:, 0], reference=base)
    (at_rest,) = torch.autograd.grad(still.norm_excess.sum(), still.policy)
    assert torch.equal(at_rest, torch.zeros_like(base))
    # It shortens the velocity and does not turn it.
    along = 2 * max(0.0, scale - 1) * rotated / 6
    torch.testing.assert_close(gradient, along)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "flow_grpo"])
def test_every_forward_objective_has_it_and_evaluates_the_base_for_it(name: str) -> None:
    assert not make_objective({"name": name, "reference_weight": 0.0}).reads_reference
    assert make_objective({"name": name, "reference_weight": 0.0, "norm_weight": 0.1}).reads_reference
