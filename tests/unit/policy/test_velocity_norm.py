"""The norm of the velocities that a sampler follows, against a field whose norm is known."""

from __future__ import annotations

import pytest
import torch

from advantageflow.flow.samplers import Sampler, integrate, timesteps
from advantageflow.policy.sampling import VelocityNorm


@pytest.mark.parametrize("sampler", ["euler", "heun", "ab2"])
def test_it_is_the_root_mean_square_over_elements_and_evaluations_of_each_image(sampler: Sampler) -> None:
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.append(sigma * x)
        return seen[-1]

    norm = VelocityNorm()
    measured = integrate(norm.measuring(velocity), noise, timesteps(4), sampler)
    wanted = torch.stack(seen).square().mean((0, 2, 3, 4)).sqrt()
    assert norm.values() == pytest.approx(wanted.tolist(), rel=1e-5)
    assert torch.equal(measured, integrate(velocity, noise, timesteps(4), sampler)), "measuring changes no image"


def test_a_new_batch_starts_anew() -> None:
    norm = VelocityNorm()
    with pytest.raises(ValueError, match="no velocity was measured"):
        norm.values()
    norm.measuring(lambda x, sigma: 3 * x)(torch.ones(2, 1, 2, 2), 1.0)
    norm.measuring(lambda x, sigma: x)(torch.ones(1, 1, 2, 2), 1.0)
    assert norm.values() == [1.0]
