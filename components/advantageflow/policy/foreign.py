"""Adapters that other programs made, as this package's own: PEFT's layout (Flow-GRPO's too), diffusers', kohya's."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from torch import Tensor, nn

from advantageflow.errors import PolicyError
from advantageflow.json_text import parse_json
from advantageflow.policy.families import Family
from advantageflow.policy.kohya import KOHYA_PREFIXES, layers_of_kohya
from advantageflow.policy.loading import load_family
from advantageflow.policy.location import read_file
from advantageflow.policy.saved import DIFFUSERS_FILE, DIFFUSERS_PREFIX, PEFT_FILE, PEFT_PREFIX, read_finite
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.files import read_json
from advantageflow.store.policies import ADAPTER_CONFIG_FILE

_METADATA = "lora_adapter_metadata"  # diffusers' key in the header of a safetensors file
_KEY = re.compile(r"(?P<layer>.+?)\.(?:lora[._](?P<part>A|B|down|up)(?:\.default)?\.weight|alpha)")
_PARTS = {"A": "down", "B": "up"}
_FOLDERS = ("", "lora")  # Flow-GRPO's checkpoints have the adapter in lora/


class Layer(NamedTuple):
    """One layer's low-rank change: `alpha / rank * up @ down`."""

    down: Tensor  # (rank, in)
    up: Tensor  # (out, rank)
    alpha: float


@dataclass(frozen=True)
class Foreign:
    """An adapter as this package writes them."""

    file: Path  # where it was read
    layout: str  # whose names the file has: PEFT, diffusers or kohya
    lora: LoraSettings  # rank, alpha and targets
    tensors: Mapping[str, Tensor] = field(repr=False)  # by `<layer>.lora_A.weight` and `<layer>.lora_B.weight`, float32
    base: str | None = None  # the base model that the adapter names, if it does

    def __str__(self) -> str:
        layers = f"{len(self.tensors) // 2} layers ({', '.join(self.lora.targets or ())})"
        of = "" if self.base is None else f", made for {self.base}"
        return f"adapter in {self.layout}'s layout: rank {self.lora.rank}, alpha {self.lora.alpha}, {layers}{of}"


def find_adapter(path: Path) -> Path | None:
    """The adapter file that a person means by a file or folder; None if there is none.
    Raises PolicyError: there is one, but pickled, or there are several.
    """
    if path.is_file():
        _refuse_pickles([path])
        return path if path.suffix == ".safetensors" else None
    for folder in (path / name for name in _FOLDERS):
        for name in (PEFT_FILE, DIFFUSERS_FILE):
            if (folder / name).is_file():
                return folder / name
        found = sorted(folder.glob("*.safetensors"))
        if len(found) > 1:
            names = f"{found[0].name}, {found[1].name}"
            raise PolicyError(f"there are several adapters: {names}", where=str(folder), remedy="name the file itself")
        if found:
            return found[0]
    _refuse_pickles(path.glob("*.*"))
    return None


def read_foreign(file: Path, model: ModelSettings) -> Foreign:
    """Read an adapter of a model. Raises PolicyError: it is corrupt, not finite, or not a LoRA adapter of the model's
    transformer alone; or its alpha is not known.

    Args:
        file: as `find_adapter` gives it.
        model: the base model; only its configuration is read.
    """
    family, tensors = load_family(model), read_finite(file)
    layers = linear_layers(model, family)
    config = _config(file)
    layout, known = _layout(tensors, file)
    if layout == "kohya":
        known = layers_of_kohya(tensors, layers, family.pipeline, file)
    parts = _parts_by_layer(known, file)
    _check_fit(parts, layers, file)
    changes = {key: Layer(one["down"], one["up"], _alpha(key, config, layout, one, file)) for key, one in parts.items()}
    lora, matrices = _uniform(changes)
    targets = _targets(changes.keys(), layers.keys(), family)
    base = config.get("base_model_name_or_path") if config else None
    return Foreign(file, layout, lora.model_copy(update={"targets": targets}), matrices, base)


def linear_layers(model: ModelSettings, family: Family) -> dict[str, tuple[int, int]]:
    """(out, in) of the transformer's linear layers by name, from its configuration alone."""
    config = {k: v for k, v in read_file(model, "transformer/config.json").items() if not k.startswith("_")}
    with torch.device("meta"):
        transformer = family.transformer_class()(**config)
    modules = transformer.named_modules()
    return {name: (one.out_features, one.in_features) for name, one in modules if isinstance(one, nn.Linear)}


def _refuse_pickles(paths: Iterable[Path]) -> None:
    for path in sorted(paths):
        if path.suffix in (".bin", ".pt", ".pth", ".ckpt"):
            remedy = "save it as safetensors: a pickle can run any code of whoever made it"
            raise PolicyError("a pickled adapter is not read", where=str(path), remedy=remedy)


def _config(file: Path) -> dict[str, Any]:
    """What PEFT's file beside it, or diffusers' header in it, says of rank and alpha; empty if nothing does."""
    beside = file.with_name(ADAPTER_CONFIG_FILE)
    if file.name != DIFFUSERS_FILE and beside.is_file():
        return read_json(beside)
    with safe_open(file, "pt") as opened:
        header = (opened.metadata() or {}).get(_METADATA)
    try:
        told = parse_json(header) if header else {}
        if not isinstance(told, dict):
            raise ValueError(f"{type(told).__name__}, not an object")
    except ValueError as error:
        remedy = "save the adapter again with diffusers"
        raise PolicyError(f"its header cannot be read: {error}", where=str(file), remedy=remedy) from error
    return {name.removeprefix(DIFFUSERS_PREFIX): value for name, value in told.items()}


def _layout(tensors: Mapping[str, Tensor], file: Path) -> tuple[str, dict[str, Tensor]]:
    """Whose names these are, and the tensors by names without their prefix."""
    for name in tensors:
        if name.startswith(("text_encoder", "lora_te")):
            remedy = "give an adapter of the transformer alone; text encoders are not trained here"
            raise PolicyError(f"it changes a text encoder too ('{name}')", where=str(file), remedy=remedy)
    if any(name.startswith(KOHYA_PREFIXES) for name in tensors):
        return "kohya", dict(tensors)
    peft = any(name.startswith(PEFT_PREFIX) for name in tensors) or file.with_name(ADAPTER_CONFIG_FILE).is_file()
    if peft and file.name != DIFFUSERS_FILE:
        return "PEFT", {name.removeprefix(PEFT_PREFIX): value for name, value in tensors.items()}
    return "diffusers", {name.removeprefix(DIFFUSERS_PREFIX): value for name, value in tensors.items()}


def _parts_by_layer(tensors: Mapping[str, Tensor], file: Path) -> dict[str, dict[str, Tensor]]:
    """'down', 'up' and perhaps 'alpha' of each layer."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        found = _KEY.fullmatch(key)
        if found is None:
            remedy = "give a LoRA adapter of linear layers: no DoRA, no biases, no whole layers"
            raise PolicyError(f"'{key}' is not a part of a LoRA adapter", where=str(file), remedy=remedy)
        part = _PARTS.get(found["part"], found["part"] or "alpha")
        layers.setdefault(found["layer"], {})[part] = value.float()
    return layers


def _check_fit(changes: Mapping[str, Mapping[str, Tensor]], layers: Mapping[str, tuple[int, int]], file: Path) -> None:
    remedy = "set model.name to the model that the adapter was made for"
    for name, change in changes.items():
        if name not in layers:
            raise PolicyError(f"the model has no layer '{name}'", where=str(file), remedy=remedy)
        if not {"down", "up"} <= change.keys():
            remedy = "get the whole file again"
            raise PolicyError(f"'{name}' lacks one of its two matrices", where=str(file), remedy=remedy)
        up, down = change["up"].shape, change["down"].shape
        if (up[0], down[-1]) != layers[name] or down[0] != up[1]:
            message = f"'{name}' is {up[0]} x {down[-1]}, the model's {layers[name]}"
            raise PolicyError(message, where=str(file), remedy=remedy)
    if not changes:
        raise PolicyError("it holds no adapter", where=str(file), remedy=remedy)


def _alpha(layer: str, config: Mapping[str, Any], layout: str, parts: Mapping[str, Tensor], file: Path) -> float:
    """As its tensors, else the configuration, say; diffusers' and kohya's files mean the rank where neither does."""
    if "alpha" in parts:
        return float(parts["alpha"])
    rank = len(parts["down"])
    if not config:
        if layout == "PEFT":
            remedy = f"put {ADAPTER_CONFIG_FILE} beside it, which PEFT writes too"
            raise PolicyError("its alpha is not known", where=str(file), remedy=remedy)
        return float(rank)
    patterns = config.get("alpha_pattern") or {}
    alpha = float(patterns.get(get_pattern_key(list(patterns), layer), config["lora_alpha"]))
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _uniform(changes: Mapping[str, Layer]) -> tuple[LoraSettings, dict[str, Tensor]]:
    """Rank and alpha of all layers, and their matrices. Where the file has several of either, or an alpha that is not a
    whole number, alpha is the rank, each scale goes into B, and smaller ranks get zeros in B, and an A to train."""
    kinds = {(len(down), alpha) for down, _, alpha in changes.values()}
    rank, alpha = max(kinds)
    as_it_is = len(kinds) == 1 and alpha == int(alpha) and alpha
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for name, (down, up, own) in changes.items():
        if not as_it_is:
            missing = rank - down.shape[0]
            up = torch.cat([up * (own / down.shape[0]), up.new_zeros(up.shape[0], missing)], dim=1)
            down = torch.cat([down, torch.randn(missing, down.shape[1], generator=generator) / rank])
        # Copies: layers that were fused share a matrix, and safetensors keeps no shared memory.
        tensors |= {f"{name}.lora_A.weight": down.clone(), f"{name}.lora_B.weight": up.clone()}
    return LoraSettings(rank=rank, alpha=int(alpha) if as_it_is else rank), dict(sorted(tensors.items()))


def _targets(changed: Iterable[str], layers: Iterable[str], family: Family) -> tuple[str, ...]:
    """Names that mean these layers and no others: the family's, else those within a block, else the whole ones."""
    wanted, every = set(changed), list(layers)
    within = {re.sub(r"^\w+\.\d+\.", "", name) for name in wanted}
    for names in (family.lora_targets, within):
        if {layer for layer in every if any(f".{layer}".endswith(f".{name}") for name in names)} == wanted:
            return tuple(sorted(names))
    return tuple(sorted(wanted))
