"""A policy as a model of its own: the whole pipeline of its base, with the adapter in the transformer's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from advantageflow.policy.adapters import add_adapter
from advantageflow.policy.loading import load_transformer
from advantageflow.policy.location import INDEX, model_location
from advantageflow.policy.saved import SavedPolicy
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import ModelSettings
from advantageflow.store.s3 import cache_folder, fetch_folder, is_s3

_PART = "transformer"


def write_fused(saved: SavedPolicy, model: ModelSettings, folder: Path) -> None:
    """Write what `DiffusionPipeline.from_pretrained(folder)` loads; sums are made in float32, kept in model.dtype.

    Args:
        saved: a trained policy.
        model: its base model.
        folder: that exists.

    Raises:
        PolicyError: the model cannot be loaded, or is not the one that the policy was trained on.
        StoreError: S3 refuses.
    """
    transformer = load_transformer(model.model_copy(update={"dtype": "float32", "device": "cpu", "compile": False}))
    saved.check_base(transformer, model)
    add_adapter(transformer, saved, ADAPTER_FOLDER)
    for name, layer in list(transformer.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, own = name.rpartition(".")
            setattr(transformer.get_submodule(parent), own, layer.get_base_layer())
    del transformer.peft_config
    source = _pipeline(model)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=_skip_transformer_of(source))
    if model.dtype != "float32":
        transformer = nn.Module.to(transformer, getattr(torch, model.dtype))
    transformer.save_pretrained(folder / _PART)


def _pipeline(model: ModelSettings) -> Path:
    """A folder with every part but, perhaps, the transformer."""
    place = model_location(model)
    if is_s3(place):
        return fetch_folder(place, cache_folder())
    if Path(place).is_dir():
        return Path(place)
    from huggingface_hub import snapshot_download

    parts = ["model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"]
    ignored = [f"{_PART}/*", "*.fp16.*"]
    return Path(snapshot_download(place, revision=model.revision, allow_patterns=parts, ignore_patterns=ignored))


def _skip_transformer_of(source: Path) -> Callable[[str, list[str]], set[str]]:
    """What shutil.copytree leaves out: the transformer, and files beside the parts that are not the pipeline's."""

    def ignore(folder: str, names: list[str]) -> set[str]:
        if Path(folder) != source:
            return set()
        folders = {name for name in names if (source / name).is_dir() and name != _PART}
        return set(names) - folders - {INDEX}

    return ignore
