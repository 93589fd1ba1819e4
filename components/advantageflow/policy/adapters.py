"""The trained policy and the rollout policy as two PEFT LoRA adapters on one frozen transformer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from advantageflow.errors import PolicyError
from advantageflow.flow.moving_average import move_toward
from advantageflow.policy.families import Family
from advantageflow.policy.layers import LoraLinear, round_adapters
from advantageflow.policy.saved import (
    ADAPTERS,
    SavedPolicy,
    lora_config,
    read_policy,
    tensors_sha256,
    whole,
    write_diffusers,
    write_peft,
)
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, derive_seed
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.policies import PolicyState


class Adapters:
    """Two adapters of a transformer: 'policy', which trains, and 'rollout_policy', which is frozen.

    Attributes:
        lora: their rank, alpha and targets.
        average: the moving average as it comes about, by parameter: the rollout policy of the next round, or a policy
            of its own from round to round; empty where nothing follows the trained policy step by step.
    """

    def __init__(self, transformer: nn.Module, lora: LoraSettings) -> None:
        self.lora = lora
        self.average: dict[str, Tensor] = {}
        self._transformer = transformer
        self._layers: list[Any] = [m for m in transformer.modules() if isinstance(m, BaseTunerLayer)]
        self._parameters = {name: _parameters_of(transformer, name) for name in ADAPTERS}

    def named_parameters(self, adapter: str = ADAPTER_FOLDER) -> dict[str, nn.Parameter]:
        """Parameters of one adapter by name, in the model's order."""
        return self._parameters[adapter]

    def parameters(self) -> list[nn.Parameter]:
        """What training optimises: the tensors of 'policy', float32."""
        return list(self.named_parameters().values())

    def use(self, adapter: str | None) -> None:
        """Makes one adapter the active one; None runs the base model. Only 'policy' ever takes gradients."""
        for layer in self._layers:  # as PEFT's own, less its walk through all parameters, twice in each microbatch
            layer._disable_adapters = adapter is None
            if adapter is not None:
                layer._active_adapter = [adapter]
        for name in ADAPTERS:
            for parameter in self.named_parameters(name).values():
                parameter.requires_grad_(name == ADAPTER_FOLDER)

    def follow(self, decay: float) -> None:
        """theta_next <- decay theta_next + (1 - decay) theta, after an optimiser step; it begins as theta_roll."""
        if not self.average:
            rollout = self.named_parameters(ROLLOUT_ADAPTER_FOLDER)
            self.average = {name: value.detach().clone() for name, value in rollout.items()}
        self._move(self.average, decay)

    def take_average(self) -> None:
        """theta_roll <- theta_next, at the end of a round."""
        for name, value in self.named_parameters(ROLLOUT_ADAPTER_FOLDER).items():
            value.data.copy_(self.average[name])
        self.average = {}

    def move_rollout_policy(self, decay: float) -> None:
        """theta_roll <- decay theta_roll + (1 - decay) theta."""
        self._move({name: value.data for name, value in self.named_parameters(ROLLOUT_ADAPTER_FOLDER).items()}, decay)

    def _move(self, average: dict[str, Tensor], decay: float) -> None:
        policy = self.named_parameters()
        move_toward([average[name] for name in policy], [p.data for p in policy.values()], decay)

    @contextmanager
    def averaging(self) -> Iterator[None]:
        """Within the block the rollout policy's tensors are the average's, where there is one."""
        rollout = self.named_parameters(ROLLOUT_ADAPTER_FOLDER)
        kept = {name: rollout[name].data for name in self.average}
        for name in kept:
            rollout[name].data = self.average[name]
        try:
            yield
        finally:
            for name, value in kept.items():
                rollout[name].data = value

    @contextmanager
    def generating(self, adapter: str) -> Iterator[None]:
        """Within the block the transformer computes as a `Generator` that has loaded this adapter, bit for bit.

        Float32 weights have it added to them, a copy of each layer that has an adapter; lower-precision ones keep it
        beside them.
        """
        self.use(adapter)
        merged = [layer for layer in self._layers if layer.get_base_layer().weight.dtype == torch.float32]
        weights = [layer.get_base_layer().weight.data for layer in merged]
        for layer, weight in zip(merged, weights, strict=True):
            layer.get_base_layer().weight.data = weight + layer.get_delta_weight(adapter)
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer, weight in zip(merged, weights, strict=True):
                layer.get_base_layer().weight.data = weight
            self.use(ADAPTER_FOLDER)

    def save(
        self, folder: Path, state: PolicyState, model: ModelSettings | None, released: str = ADAPTER_FOLDER
    ) -> None:
        """Write policy/ and rollout_policy/, the first for diffusers too, and the state with their shape and hashes.
        Raises StoreError: a file cannot be written.

        Args:
            folder: of the policy artifact, being published.
            state: of the policy; what it says of adapters is replaced.
            model: the base model, which the files name.
            released: which adapter policy/ gets: 'policy' or 'rollout_policy', for which an average stands that is a
                policy of its own.
        """
        tensors = {ROLLOUT_ADAPTER_FOLDER: self._tensors(ROLLOUT_ADAPTER_FOLDER)}
        with self.averaging():
            tensors[ADAPTER_FOLDER] = self._tensors(released)
        for name in ADAPTERS:
            write_peft(folder / name, tensors[name], self.lora, model)
        write_diffusers(folder / ADAPTER_FOLDER, tensors[ADAPTER_FOLDER], self.lora)
        hashes = {f"{name}_sha256": tensors_sha256(tensors[name]) for name in ADAPTERS}
        state.model_copy(update={"lora": self.lora, **hashes}).write(folder)

    def sha256(self) -> str:
        """Hash of the 'policy' tensors, see `tensors_sha256`."""
        return tensors_sha256(self._tensors(ADAPTER_FOLDER))

    def _tensors(self, adapter: str) -> dict[str, Tensor]:
        state = self.named_parameters(adapter)
        return {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}


def attach_adapters(
    transformer: nn.Module,
    policy_dir: Path,
    lora: LoraSettings,
    seed: int,
    family: Family,
    model: ModelSettings | None = None,
) -> Adapters:
    """Puts both adapters on the transformer: those of the policy folder, or fresh ones that change nothing yet.

    Args:
        transformer: the frozen base model.
        policy_dir: a policy artifact.
        lora: shape of the adapters.
        seed: of a fresh adapter's A matrices (B is zero).
        family: of the transformer; says which layers get an adapter where `lora` does not.
        model: what the transformer is of; None where nothing was trained before.

    Raises:
        PolicyError: the folder is corrupt, its weights are not finite or not those of their hash, or it was trained on
            another base model.
        SettingsError: its adapters have another shape than `lora`.
    """
    saved, wanted = read_policy(policy_dir), whole(lora, family)
    if saved.state.trained:
        saved.check_lora(lora, family)
        if model is not None:
            saved.check_base(transformer, model)
        for name in ADAPTERS:
            add_adapter(transformer, saved, name, torch.float32)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "adapter"))
            _inject(transformer, wanted, ADAPTER_FOLDER, every=lora.targets is not None)
        _inject(transformer, wanted, ROLLOUT_ADAPTER_FOLDER)
    adapters = Adapters(transformer, wanted)
    if not saved.state.trained:
        adapters.move_rollout_policy(0.0)
    for name in ADAPTERS:
        for parameter in adapters.named_parameters(name).values():
            parameter.data = parameter.data.float()
    adapters.use(ADAPTER_FOLDER)
    return adapters


def add_adapter(transformer: nn.Module, saved: SavedPolicy, name: str, dtype: torch.dtype | None = None) -> None:
    """Adds one adapter of a saved policy to the transformer, under its own name.
    Raises PolicyError: it is of another model.

    Args:
        transformer: the base model.
        saved: the policy; not the base model's.
        name: 'policy' or 'rollout_policy'.
        dtype: of its tensors; None rounds them to the precision of the layers that they are added to.
    """
    if saved.state.lora is None:
        raise AssertionError("the base model has no adapter")
    _inject(transformer, saved.state.lora, name, saved.folder / name)
    parameters = _parameters_of(transformer, name)
    _check_fits({key: parameter.shape for key, parameter in parameters.items()}, saved, name)
    for key, parameter in parameters.items():
        parameter.data = torch.empty_like(parameter.data, dtype=dtype).copy_(saved.tensors[name][key])


def merge_adapter(transformer: nn.Module, saved: SavedPolicy, name: str) -> None:
    """Adds one adapter of a saved policy to float32 weights, `W + s B A`: as PEFT merges it, bit for bit.

    Args as of `add_adapter`. Raises PolicyError: it is of another model.
    """
    if saved.state.lora is None:
        raise AssertionError("the base model has no adapter")
    rank, layers = saved.state.lora.rank, _targets(transformer, saved.state.lora)
    weights = {layer: module.get_parameter("weight") for layer, module in layers.items()}
    shapes = {f"{layer}.lora_A.weight": torch.Size((rank, weight.shape[1])) for layer, weight in weights.items()}
    shapes |= {f"{layer}.lora_B.weight": torch.Size((len(weight), rank)) for layer, weight in weights.items()}
    _check_fits(shapes, saved, name)
    for layer, weight in weights.items():
        down, up = (saved.tensors[name][f"{layer}.{part}.weight"].to(weight.device) for part in ("lora_A", "lora_B"))
        weight.data = weight.data + (up @ down) * (saved.state.lora.alpha / rank)


def _check_fits(shapes: Mapping[str, torch.Size], saved: SavedPolicy, name: str) -> None:
    """Raises PolicyError where an adapter's tensors are not those that the model has a place for."""
    has = {key: tensor.shape for key, tensor in saved.tensors[name].items()}
    for key in sorted(shapes.keys() | has.keys()):
        if shapes.get(key) != has.get(key):
            remedy = "use the base model that this policy was trained on"
            message = f"the adapter does not fit the model ({key}: {_size(has.get(key))}, not {_size(shapes.get(key))})"
            raise PolicyError(message, where=str(saved.folder / name), remedy=remedy)


def _size(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def _parameters_of(transformer: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    mark = f".{adapter}."
    return {n.replace(mark, "."): p for n, p in transformer.named_parameters() if mark in n}


def _inject(
    transformer: nn.Module, lora: LoraSettings, name: str, folder: Path | None = None, *, every: bool = False
) -> None:
    """Gives an adapter of this name to the layers that it is for, in the model's order, as PEFT does.

    `folder` is that of a saved adapter. With `every` each target must be there: one that a person misspelt would not
    train.
    """
    config, layers = lora_config(lora), _targets(transformer, lora)
    strange = [layer for layer, module in layers.items() if not isinstance(module, nn.Linear | LoraLinear)]
    ends = [f".{layer}" for layer in layers]
    absent = [target for target in lora.targets or () if not any(end.endswith(f".{target}") for end in ends)]
    if strange or not layers or (absent and every):
        missing = f"the model has no layer {' or '.join(absent)}"
        message = f"'{strange[0]}' is not a linear layer" if strange else missing
        remedy = "check training.lora.targets against the model; null takes the usual ones of its family"
        raise PolicyError(message, where=str(folder or "training.lora.targets"), remedy=remedy)
    for layer, module in layers.items():
        if isinstance(module, LoraLinear):
            module.update_layer(name, lora.rank, lora_alpha=lora.alpha, config=config)
        else:
            transformer.set_submodule(layer, LoraLinear(module, name, config, r=lora.rank, lora_alpha=lora.alpha))
    if not all(isinstance(module, LoraLinear) for module in layers.values()):
        round_adapters(transformer)


def _targets(transformer: nn.Module, lora: LoraSettings) -> dict[str, nn.Module]:
    """The layers that an adapter is for, by name."""
    ends = tuple(f".{target}" for target in lora.targets or ())
    return {layer: module for layer, module in transformer.named_modules() if f".{layer}".endswith(ends)}
