"""The model in training: a frozen base with the trained adapter and the rollout policy's, and the optimiser."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advantageflow.policy.adapters import Adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families import Family
from advantageflow.policy.sampling import full_batches
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER

Inputs = tuple[Tensor, Tensor, Conditioning]
"""x_t, t and what conditions the model, of each sample."""


@dataclass(frozen=True)
class Policy:
    """The model in training."""

    transformer: nn.Module  # frozen base with the adapters attached; its device and dtype are the computation's
    adapters: Adapters  # the trained 'policy' and the frozen 'rollout_policy'
    optimiser: torch.optim.AdamW  # over the adapters' parameters; keeps its moments from round to round
    family: Family  # of the transformer
    batch: int = 0  # samples that a smaller batch with gradient is filled up to, so that compiled blocks see one shape

    def velocity(self, inputs: Inputs) -> Tensor:
        """v_theta, with gradient."""
        return full_batches(self.family.velocity, self.batch)(self.transformer, *inputs)

    @torch.no_grad()
    def rollout_velocity(self, inputs: Inputs) -> Tensor:
        """v_roll of the rollout policy, without gradient."""
        return self._velocity_of(ROLLOUT_ADAPTER_FOLDER, inputs)

    @torch.no_grad()
    def average_velocity(self, inputs: Inputs) -> Tensor:
        """v_avg of the moving average, without gradient; v_roll as long as no step has moved it."""
        with self.adapters.averaging():
            return self._velocity_of(ROLLOUT_ADAPTER_FOLDER, inputs)

    @torch.no_grad()
    def reference_velocity(self, inputs: Inputs) -> Tensor:
        """v_ref of the base model, all adapters off, without gradient."""
        return self._velocity_of(None, inputs)

    def is_rollout_policy(self) -> bool:
        """Whether the trained policy still equals the rollout policy."""
        rollout = self.adapters.named_parameters(ROLLOUT_ADAPTER_FOLDER)
        return all(torch.equal(value, rollout[name]) for name, value in self.adapters.named_parameters().items())

    def set_learning_rate(self, rate: float) -> None:
        """Of the optimiser steps from now on."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def largest_weight(self) -> Tensor:
        """Largest absolute value in the trained adapter."""
        return torch.stack([weight.detach().abs().amax() for weight in self.adapters.parameters()]).amax()

    def _velocity_of(self, adapter: str | None, inputs: Inputs) -> Tensor:
        self.adapters.use(adapter)
        velocity = self.family.velocity(self.transformer, *inputs)
        self.adapters.use(ADAPTER_FOLDER)
        return velocity
