"""The hash of a learned reward's weights."""

import pytest
import torch
from torch import nn

from advantageflow.rewards.plumbing.weights import weights_hash


def _linear(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def test_equal_weights_have_equal_hashes() -> None:
    assert weights_hash(_linear(0)) == weights_hash(_linear(0))


def test_another_value_another_order_or_another_module_changes_the_hash() -> None:
    one, other = _linear(0), _linear(1)
    hashes = {weights_hash(one), weights_hash(other), weights_hash(one, other), weights_hash(other, one)}
    assert len(hashes) == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_precision_counts(dtype: torch.dtype) -> None:
    assert weights_hash(_linear(0)) != weights_hash(_linear(0).to(dtype))


def test_scalars_are_hashed_too() -> None:
    norm = nn.BatchNorm1d(2)  # has a scalar buffer, num_batches_tracked
    before = weights_hash(norm)
    norm.num_batches_tracked += 1
    assert weights_hash(norm) != before
