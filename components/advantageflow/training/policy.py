"""The model in training: a frozen base with the trained adapter and the rollout policy's, and the optimiser, whose
state is kept in a file from round to round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from advantageflow.errors import PolicyError
from advantageflow.policy.adapters import Adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families import Family
from advantageflow.policy.sampling import full_batches
from advantageflow.policy.saved import read_finite
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import TrainingSettings
from advantageflow.store.files import write_tensors

OPTIMISER_FILE = "optimizer.safetensors"
_WEIGHT = "trained"
_PARTS = ("exp_avg", "exp_avg_sq", "step")

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


def make_optimiser(parameters: list[Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW with the settings' learning rate, betas and weight decay; on a GPU one kernel for all parameters."""
    fused = all(parameter.is_cuda for parameter in parameters)
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=settings.adam_betas,
        weight_decay=settings.weight_decay,
        fused=fused,
    )


def save_optimiser(
    optimiser: torch.optim.AdamW, parameters: Mapping[str, Parameter], path: Path, *, with_weights: bool
) -> None:
    """Write the moments and step of each parameter as `<parameter name>.<part>`.

    With the parameters too, as part 'trained', where the policy beside the file is another.
    """
    weights = {f"{name}.{_WEIGHT}": value.detach().cpu() for name, value in parameters.items() if with_weights}
    write_tensors(path, optimiser_tensors(optimiser, parameters) | weights)


def optimiser_tensors(optimiser: torch.optim.AdamW, parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """The moments and step of each parameter that has had a gradient, as `<parameter name>.<part>`, on the CPU."""
    state = {name: optimiser.state[parameter] for name, parameter in parameters.items() if parameter in optimiser.state}
    return {f"{name}.{part}": values[part].cpu() for name, values in state.items() for part in _PARTS}


def restore_optimiser(optimiser: torch.optim.AdamW, parameters: Mapping[str, Parameter], path: Path) -> None:
    """Continue from a saved state, and from the weights in it, if any.
    Raises PolicyError: the file is corrupt, belongs to another adapter, or holds values that are not finite.
    """
    saved = read_finite(path)
    weights = {name: saved.pop(f"{name}.{_WEIGHT}") for name in parameters if f"{name}.{_WEIGHT}" in saved}
    restore_tensors(optimiser, parameters, saved, path)
    for name, value in weights.items():
        if value.shape != parameters[name].shape:
            raise _misfit(path, f"'{name}' is {tuple(value.shape)}, not {tuple(parameters[name].shape)}")
        parameters[name].data.copy_(value)


def restore_tensors(
    optimiser: torch.optim.AdamW, parameters: Mapping[str, Parameter], saved: Mapping[str, Tensor], path: Path
) -> None:
    """Continue from what `optimiser_tensors` gave.
    Raises PolicyError: it belongs to another adapter; names the tensor, and `path` as where it is from.
    """
    unknown = saved.keys() - {f"{name}.{part}" for name in parameters for part in _PARTS}
    if unknown:
        raise _misfit(path, f"'{min(unknown)}' is not of this adapter")
    for name, parameter in parameters.items():
        present = [part for part in _PARTS if f"{name}.{part}" in saved]
        if not present:
            continue  # a parameter that has never had a gradient
        if len(present) < len(_PARTS):
            raise _misfit(path, f"'{name}' lacks a part of {', '.join(_PARTS)}")
        parts = {part: saved[f"{name}.{part}"] for part in _PARTS}
        if any(parts[part].shape != parameter.shape for part in _PARTS[:2]):
            raise _misfit(path, f"'{name}' is {tuple(parts['exp_avg'].shape)}, not {tuple(parameter.shape)}")
        # AdamW keeps its step on the CPU, the fused one on the GPU with all else.
        fused = optimiser.defaults["fused"]
        optimiser.state[parameter] = {
            part: value if part == "step" and not fused else value.to(parameter.device) for part, value in parts.items()
        }


def _misfit(path: Path, message: str) -> PolicyError:
    remedy = "continue with the training.lora settings that the policy was made with, or start from another policy"
    return PolicyError(f"the optimiser's state does not fit: {message}", where=str(path), remedy=remedy)
