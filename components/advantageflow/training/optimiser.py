"""The optimiser: AdamW over the adapter, its state kept in a file from round to round."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter

from advantageflow.errors import PolicyError
from advantageflow.policy.saved import read_finite
from advantageflow.settings import TrainingSettings
from advantageflow.store.files import write_tensors

OPTIMISER_FILE = "optimizer.safetensors"
_WEIGHT = "trained"
_PARTS = ("exp_avg", "exp_avg_sq", "step")


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
