"""Seeded noise that does not depend on the batch, and the check that finds a diverged policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advantageflow.errors import DataError, PolicyError
from advantageflow.policy import generate
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.divergence import check_finite
from advantageflow.policy.generate import load_generator
from advantageflow.policy.sampling import VelocityNorm, full_batches, initial_noise, step_noise
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.tracking.journal import Journal, journal_in_use

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


def test_where_memory_ends_smaller_batches_make_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    told = encode_prompts(ModelSettings(), ["a red circle"]).rows([0] * 5)
    how, velocity, norm = EvaluationSettings(steps=1, sampler="euler"), generate.velocity_function, VelocityNorm()

    def small(family: Any, transformer: Any, told: Conditioning, *others: Any) -> Any:
        if len(told) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return velocity(family, transformer, told, *others)

    with journal_in_use(Journal()) as journal:
        generator = load_generator(ModelSettings(), None, "policy", 1)
    whole = generator.images(told, [1, 2, 3, 4, 5], how)
    monkeypatch.setattr(generate, "velocity_function", small)
    parts = generator.images(told, [1, 2, 3, 4, 5], how, None, norm)
    assert parts[0] == pytest.approx(whole[0], abs=1e-4)
    assert np.abs(parts[1].astype(int) - whole[1]).max() <= 1
    assert len(norm.values()) == 5
    assert ["batch of 5 images: 3 at" in journal.warnings[0], "of 3 images: 2" in journal.warnings[1]] == [True, True]
