"""What a block does beside its matrix products is counted kernel by kernel."""

from __future__ import annotations

import dataclasses

from advantageflow_experiments.bench.passes import count_eager
from advantageflow_experiments.bench.true_shape import Shape


def test_kernels_of_a_block_are_counted_with_the_bytes_that_they_move(tiny: Shape) -> None:
    """A dual block has 16 linear layers of tokens, 12 of them with adapters, and 2 of the time embedding."""
    passes = count_eager(tiny)
    linear, adapters, attention = 18 + 16, 12 * (2 + 4), 2 * 2
    assert passes.products == linear + adapters + attention
    assert passes.kernels <= 331 / 4, "a quarter of what PEFT's layers and norms written out took"
    assert passes.small <= passes.kernels
    larger = count_eager(dataclasses.replace(tiny, image_size=2 * tiny.image_size))
    assert (larger.kernels, larger.products) == (passes.kernels, passes.products)
    assert larger.bytes > passes.bytes
