"""How large the velocities are that images were sampled with; costs no model evaluation of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from advantageflow.policy.autoencoder import Latents

Velocity = Callable[[Latents, float], Latents]


class VelocityNorm:
    """Root mean square of the velocities of each image, over its elements and over the model evaluations of sampling.

    With guidance it is the guided velocity, the one that the solver follows.
    """

    def __init__(self) -> None:
        self._squares: Tensor | None = None  # sum over evaluations, (batch,)
        self._evaluations = 0

    def measuring(self, velocity: Velocity) -> Velocity:
        """The same velocities, measured as they are asked for; forgets what was measured before."""
        self._squares, self._evaluations = None, 0

        def measured(x: Latents, sigma: float) -> Latents:
            out = velocity(x, sigma)
            squares = out.flatten(1).float().square().mean(1)
            self._squares = squares if self._squares is None else self._squares + squares
            self._evaluations += 1
            return out

        return measured

    def values(self) -> list[float]:
        """Of each image of the batch.

        Raises:
            ValueError: nothing was measured.
        """
        if self._squares is None:
            raise ValueError("no velocity was measured")
        return torch.sqrt(self._squares / self._evaluations).tolist()
