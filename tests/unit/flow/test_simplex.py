"""The nearest point of a simplex of gradients: optimal, and where it must lie."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.simplex import nearest_on_simplex

gradients = st.integers(0, 2**31).map(lambda seed: torch.Generator().manual_seed(seed))


def some(generator: torch.Generator, count: int, size: int) -> Tensor:
    values = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return values / values.norm(dim=1, keepdim=True)


@given(gradients, st.integers(1, 5), st.integers(1, 6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_corner_of_the_simplex_is_downhill_from_the_optimum(
    generator: torch.Generator, count: int, size: int, aimed: bool
) -> None:
    vectors = some(generator, count, size)
    target = some(generator, 1, size)[0] if aimed else torch.zeros(size, dtype=torch.float64)
    weights = nearest_on_simplex(vectors @ vectors.T, vectors @ target if aimed else None)
    assert weights.sum().item() == pytest.approx(1)
    assert (weights >= 0).all()
    downhill = vectors @ (weights @ vectors - target)  # half the derivative toward each corner
    assert (downhill >= weights @ downhill - 1e-7).all()  # the convex problem's condition of optimality


@given(gradients, st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_a_step_along_the_point_of_minimum_norm_lowers_every_loss_alike_or_more(
    generator: torch.Generator, count: int
) -> None:
    vectors = some(generator, count, 6)
    point = nearest_on_simplex(vectors @ vectors.T) @ vectors
    assert (vectors @ point >= point @ point - 1e-9).all()


@given(gradients, st.permutations(range(4)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_gradients_does_not_matter(generator: torch.Generator, order: list[int]) -> None:
    vectors = some(generator, 4, 8)
    gram = vectors @ vectors.T
    torch.testing.assert_close(nearest_on_simplex(gram)[order], nearest_on_simplex(gram[order][:, order]))


def test_gradients_at_right_angles_weigh_the_same_and_of_equal_ones_the_first_suffices() -> None:
    assert nearest_on_simplex(torch.eye(3, dtype=torch.float64)).tolist() == pytest.approx([1 / 3] * 3)
    assert nearest_on_simplex(torch.ones(2, 2, dtype=torch.float64)).tolist() == pytest.approx([1, 0])


def test_gradients_that_disagree_with_the_target_get_nothing() -> None:
    gram = torch.eye(3, dtype=torch.float64)
    toward = torch.tensor([0.9, 0.1, -0.9], dtype=torch.float64)
    assert nearest_on_simplex(gram, toward).tolist() == pytest.approx([0.9, 0.1, 0])


def test_opposite_gradients_cancel() -> None:
    gram = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    weights = nearest_on_simplex(gram)
    assert (weights @ gram @ weights).item() == pytest.approx(0)


def test_more_gradients_than_subsets_can_be_looked_at_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 10 gradients, not 11"):
        nearest_on_simplex(torch.eye(11, dtype=torch.float64))
