"""The trained policy and the rollout policy as two PEFT LoRA adapters on one frozen transformer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor, nn

from advantageflow.errors import PolicyError
from advantageflow.flow.moving_average import move_toward
from advantageflow.policy.families import Family
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, derive_seed
from advantageflow.settings import LoraSettings
from advantageflow.store.artifacts import read_policy_state, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

_WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTERS = (ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER)


class Adapters:
    """Two adapters of a transformer: 'policy', which trains, and 'rollout_policy', which is frozen."""

    def __init__(self, transformer: nn.Module, config: LoraConfig) -> None:
        self._transformer = transformer
        self._config = config
        self._layers = [m for m in transformer.modules() if isinstance(m, BaseTunerLayer)]
        self._parameters = {name: _parameters_of(transformer, name) for name in ADAPTERS}

    def named_parameters(self, adapter: str = ADAPTER_FOLDER) -> dict[str, nn.Parameter]:
        """Parameters of one adapter by name, in the model's order."""
        return self._parameters[adapter]

    def parameters(self) -> list[nn.Parameter]:
        """What training optimises: the tensors of 'policy', float32."""
        return list(self.named_parameters().values())

    def use(self, adapter: str | None) -> None:
        """Makes one adapter the active one; None runs the base model. Only 'policy' ever takes gradients."""
        for layer in self._layers:
            layer.enable_adapters(adapter is not None)
            if adapter is not None:
                layer.set_adapter(adapter)
        for name in ADAPTERS:
            for parameter in self.named_parameters(name).values():
                parameter.requires_grad_(name == ADAPTER_FOLDER)

    def move_rollout_policy(self, decay: float) -> None:
        """theta_roll <- decay theta_roll + (1 - decay) theta."""
        policy = self.named_parameters()
        rollout = self.named_parameters(ROLLOUT_ADAPTER_FOLDER)
        move_toward([rollout[name].data for name in policy], [p.data for p in policy.values()], decay)

    def save(self, folder: Path) -> None:
        """Writes policy/ and rollout_policy/ in PEFT's own format."""
        for name in ADAPTERS:
            target = folder / name
            target.mkdir(parents=True, exist_ok=True)
            write_tensors(target / _WEIGHTS_FILE, self._state(name))
            self._config.save_pretrained(str(target))

    def sha256(self) -> str:
        """Hash over names, shapes and bytes of the 'policy' tensors."""
        return tensors_sha256(self._state(ADAPTER_FOLDER))

    def _state(self, adapter: str) -> dict[str, Tensor]:
        state = get_peft_model_state_dict(self._transformer, adapter_name=adapter)
        return {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}


def _parameters_of(transformer: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    mark = f".{adapter}."
    return {n.replace(mark, "."): p for n, p in transformer.named_parameters() if mark in n}


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash over names, shapes and bytes, independent of the file format."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def attach_adapters(
    transformer: nn.Module, policy_dir: Path, lora: LoraSettings, seed: int, family: Family
) -> Adapters:
    """Puts both adapters on the transformer: those of the policy folder, or fresh ones that change nothing yet.

    Args:
        transformer: the frozen base model.
        policy_dir: a policy artifact (state.json says whether it has an adapter).
        lora: shape of a fresh adapter; an existing one keeps its own.
        seed: of a fresh adapter's A matrices (B is zero).
        family: of the transformer; says which layers get an adapter where `lora` does not.

    Raises:
        PolicyError: the folder is corrupt or does not fit the model.
    """
    state = read_policy_state(policy_dir)
    if state.get("adapter") is None:
        targets = list(lora.targets or family.lora_targets)
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, init_lora_weights="gaussian")
        config.target_modules = sorted(config.target_modules or [])  # PEFT makes it a set, whose order varies
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "adapter"))
            _inject(transformer, config, ADAPTER_FOLDER, policy_dir)
        _inject(transformer, config, ROLLOUT_ADAPTER_FOLDER, policy_dir)
        adapters = Adapters(transformer, config)
        adapters.move_rollout_policy(0.0)
    else:
        for name in ADAPTERS:
            config = load_adapter(transformer, policy_dir / name, name, torch.float32)
        adapters = Adapters(transformer, config)
    for name in ADAPTERS:
        for parameter in adapters.named_parameters(name).values():
            parameter.data = parameter.data.float()
    adapters.use(ADAPTER_FOLDER)
    return adapters


def load_adapter(transformer: nn.Module, folder: Path, name: str, dtype: torch.dtype | None = None) -> LoraConfig:
    """Adds one saved PEFT adapter to the transformer under `name`.

    Args:
        transformer: the base model.
        folder: of the adapter.
        name: what it is called from now on.
        dtype: of its tensors; None rounds them to the precision of the layers that they are added to.

    Raises:
        PolicyError: a file is missing, unreadable, or of another model.
    """
    try:
        config = LoraConfig.from_pretrained(str(folder))
        weights = load_file(folder / _WEIGHTS_FILE)
    except Exception as error:
        raise PolicyError(
            f"the adapter cannot be read: {str(error).splitlines()[0]}",
            where=str(folder),
            remedy="the folder is incomplete or corrupt: name another policy, or run the round again",
        ) from error
    config.target_modules = sorted(config.target_modules or [])
    _inject(transformer, config, name, folder)
    for parameter in _parameters_of(transformer, name).values() if dtype is not None else ():
        parameter.data = parameter.data.to(dtype)  # before the weights come, which it would else have rounded
    try:
        result: Any = set_peft_model_state_dict(transformer, weights, adapter_name=name)
    except RuntimeError as error:  # torch's list of tensors of another shape, a line each
        raise _misfit(folder, str(error).splitlines()[-1].strip()) from error
    strange = [key for key in result.missing_keys if f".{name}." in key] + list(result.unexpected_keys)
    if strange:
        raise _misfit(folder, strange[0])
    return config


def _misfit(folder: Path, mismatch: str) -> PolicyError:
    return PolicyError(
        f"the adapter does not fit the model ({mismatch})",
        where=str(folder),
        remedy="use the base model that this policy was trained on",
    )


def _inject(transformer: nn.Module, config: LoraConfig, name: str, folder: Path) -> None:
    try:
        inject_adapter_in_model(config, transformer, adapter_name=name)
    except ValueError as error:
        raise PolicyError(
            str(error).splitlines()[0], where=str(folder), remedy="check training.lora.targets against the model"
        ) from error
