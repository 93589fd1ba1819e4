"""Seeded noise that does not depend on the batch, and the check that finds a diverged policy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advantageflow.errors import DataError, PolicyError
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.divergence import check_finite
from advantageflow.policy.generate import load_generator
from advantageflow.policy.sampling import full_batches, initial_noise, step_noise
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import EvaluationSettings, ModelSettings

SHAPE = (2, 3, 3)


def test_step_noise_is_each_samples_own() -> None:
    together, alone = step_noise([5, 6, 7], SHAPE, "cpu"), step_noise([6], SHAPE, "cpu")
    for number in range(3):
        assert torch.equal(together(number)[1:2], alone(number))


def test_noise_of_all_steps_and_the_initial_noise_differ() -> None:
    noise = step_noise([5], SHAPE, "cpu")
    drawn = torch.stack([initial_noise([5], SHAPE), *(noise(number) for number in range(4))]).flatten(1)
    assert (torch.corrcoef(drawn) - torch.eye(5)).abs().max() < 0.9
    assert torch.equal(noise(2), noise(2))


@pytest.mark.parametrize("error", [PolicyError, DataError])
def test_first_sample_that_is_not_finite_is_named(error: type[PolicyError] | type[DataError]) -> None:
    samples = torch.zeros(3, *SHAPE)
    check_finite(samples, ["a", "b", "c"])
    samples[1, 0, 0, 0], samples[2, 1, 1, 1] = torch.inf, torch.nan
    with pytest.raises(error, match=r"^b: its state is not finite"):
        check_finite(samples, ["a", "b", "c"], "state", error)


def test_no_samples_are_all_finite() -> None:
    check_finite(torch.zeros(0, *SHAPE), [])


def test_smaller_batches_are_filled_up_and_their_own_velocities_returned() -> None:
    sizes: list[int] = []

    def velocity(_: nn.Module, x: Tensor, t: Tensor, told: Conditioning) -> Tensor:
        sizes.append(len(x))
        return x + t[:, None] + told.tensors["text"]

    filled, model = full_batches(velocity, 4), nn.Identity()
    for count in (3, 4, 5):
        x, t, told = torch.randn(count, 2), torch.rand(count), Conditioning({"text": torch.randn(count, 2)})
        assert torch.equal(filled(model, x, t, told), velocity(model, x, t, told))
    assert sizes == [4, 3, 4, 4, 5, 5]


def test_images_are_the_same_however_many_are_decoded_at_once() -> None:
    told, made = encode_prompts(ModelSettings(), ["a red circle"]).rows([0, 0, 0]), []
    for batch in (None, 2):
        generator = load_generator(ModelSettings(decode_batch=batch), None, "policy", 1)
        made.append(generator.images(told, [1, 2, 3], EvaluationSettings(steps=1, sampler="euler"))[1])
    assert made[0].shape == made[1].shape
    assert (made[0].astype(int) - made[1]).max() <= 1
