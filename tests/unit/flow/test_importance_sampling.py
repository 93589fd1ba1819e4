"""Draws in proportion to what samples teach leave the mean gradient as it is."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from advantageflow.flow.importance_sampling import (
    EVEN,
    importance_weights,
    most_telling,
    sampling_probabilities,
    systematic_draws,
)

ADVANTAGES = st.lists(st.floats(-1, 1), min_size=2, max_size=12).map(lambda values: torch.tensor(values))


@given(advantages=ADVANTAGES, inner_epochs=st.integers(1, 4))
def test_the_weighted_gradient_is_unbiased(advantages: torch.Tensor, inner_epochs: int) -> None:
    count, draws = len(advantages), len(advantages) * inner_epochs
    probabilities = sampling_probabilities(advantages)
    weights, gradients = importance_weights(probabilities), torch.arange(1.0, count + 1).double()
    offsets = (torch.arange(400) + 0.5) / 400
    means = [
        (weights * gradients)[systematic_draws(probabilities, draws, offset)].mean() for offset in offsets.tolist()
    ]
    torch.testing.assert_close(torch.stack(means).mean(), gradients.mean(), rtol=0.02, atol=0.0)


@given(advantages=ADVANTAGES, offset=st.floats(0, 1, exclude_max=True))
def test_each_sample_is_drawn_as_often_as_its_share_says_or_once_more(advantages: torch.Tensor, offset: float) -> None:
    probabilities, draws = sampling_probabilities(advantages), 3 * len(advantages)
    counts = systematic_draws(probabilities, draws, offset).bincount(minlength=len(advantages))
    assert counts.sum() == draws
    assert ((counts - draws * probabilities).abs() < 1 + 1e-9).all()
    assert (importance_weights(probabilities) <= 1 / EVEN + 1e-9).all()


def test_the_most_telling_of_each_group_are_its_best_and_its_worst() -> None:
    advantages = torch.tensor([[0.1, -0.9, 0.8, -0.2], [0.0, 0.3, -0.4, 0.5]])
    assert most_telling(advantages, 2).tolist() == [1, 2, 6, 7]
    assert most_telling(advantages, 4).tolist() == list(range(8))


def test_without_any_advantage_all_samples_are_alike() -> None:
    assert torch.equal(sampling_probabilities(torch.zeros(4)), torch.full((4,), 0.25).double())
