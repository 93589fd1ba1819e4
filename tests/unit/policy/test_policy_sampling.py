"""Seeded noise that does not depend on the batch, and the check that finds a diverged policy."""

from __future__ import annotations

import pytest
import torch

from advantageflow.errors import DataError, PolicyError
from advantageflow.policy.divergence import check_finite
from advantageflow.policy.sampling import initial_noise, step_noise

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
