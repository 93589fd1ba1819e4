"""Average velocities: a family that is told the length of the step, and is the flow itself where that is nothing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from advantageflow.flow.path import sample_intervals
from advantageflow.flow.samplers import integrate, timesteps
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.mean_flow import MeanFlow, interval_features
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.sampling import velocity_function
from advantageflow.shapes.architecture import build_transformer
from advantageflow.training.policy import Policy
from advantageflow.training.step import mean_flow_correction


def test_an_interval_of_no_length_leaves_the_flow_as_it_is() -> None:
    torch.manual_seed(0)
    transformer = build_transformer(width=32, layers=1)
    told = Conditioning({"prompt_embeds": torch.randn(2, 20, 128), "pooled": torch.randn(2, 128)})
    x, t = torch.randn(2, 8, 6, 6), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        flow = StableDiffusion3().velocity(transformer, x, t, told)
        none, some = (
            MeanFlow().velocity(transformer, x, t, told.telling("interval", torch.full((2,), h))) for h in (0.0, 0.3)
        )
        assert torch.equal(MeanFlow().velocity(transformer, x, t, told), flow)
    assert torch.equal(none, flow)
    assert not torch.allclose(some, flow, atol=1e-3)


def test_lengths_are_told_apart() -> None:
    features = interval_features(torch.linspace(0, 1, 101), 128)
    assert not features[0].any()
    assert torch.pdist(features).min() > 0.05


class Growth(MeanFlow):
    """dx/dt = a x, whose average velocity over h is known: `x (1 - exp(-a h)) / h`."""

    def __init__(self, a: float) -> None:
        self.a = a

    def velocity(self, transformer: nn.Module, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        h = conditioning.tensors["interval"].double()
        factor = torch.where(h > 1e-9, -torch.expm1(-self.a * h) / h.clamp_min(1e-9), self.a)
        return factor.reshape(-1, *[1] * (x_t.ndim - 1)) * x_t


@given(a=st.floats(-1.5, 1.5), steps=st.integers(1, 5), shift=st.floats(0.5, 4))
def test_eulers_steps_over_average_velocities_are_exact(a: float, steps: int, shift: float) -> None:
    noise, sigmas = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).double(), timesteps(steps, shift)
    told = Conditioning({"prompt_embeds": torch.zeros(2, 1, 1)})
    velocity = velocity_function(Growth(a), nn.Linear(1, 1), told, sigmas=sigmas)
    torch.testing.assert_close(integrate(velocity, noise, sigmas, "euler"), math.exp(-a) * noise)


@given(a=st.floats(-1, 1), t=st.floats(0.05, 1), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_with_the_correction_an_average_velocity_is_the_velocity(a: float, t: float, share: float, seed: int) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)).double()
    times, lengths = (torch.full((2,), one, dtype=torch.float64) for one in (t, share * t))
    told = Conditioning({"prompt_embeds": torch.zeros(2, 1, 1)}).telling("interval", lengths)
    family = Growth(a)
    policy = cast(Policy, SimpleNamespace(velocity=lambda inputs: family.velocity(nn.Identity(), *inputs)))
    u = family.velocity(nn.Identity(), x, times, told)
    correction = mean_flow_correction(policy, (x, times, told), lengths, u, a * x)
    torch.testing.assert_close(u + correction, a * x, atol=0.03, rtol=0.03)  # a difference of 1 / 100 of time


@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(0.5, 4))
def test_intervals_are_those_of_the_samplers_steps_or_any_before_the_time(seed: int, shift: float) -> None:
    sigmas = timesteps(4, shift)
    generator: Any = torch.Generator().manual_seed(seed)
    number = torch.randint(4, (20,), generator=generator)
    times = sigmas[number].float()
    lengths = sample_intervals(times, sigmas[:-1], generator)
    torch.testing.assert_close(lengths, (sigmas[:-1] - sigmas[1:])[number].float())
    anywhere = sample_intervals(times, None, generator)
    assert ((anywhere >= 0) & (anywhere <= times)).all()
