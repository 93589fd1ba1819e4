"""What an exported policy takes from its base model: its weights, with the adapter in them, and its licence."""

import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from advantageflow.policy.adapters import merge_adapter
from advantageflow.policy.loading import load_transformer
from advantageflow.policy.location import INDEX, model_location
from advantageflow.policy.saved import SavedPolicy
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import ModelSettings
from advantageflow.store.s3 import cache_folder, fetch_file, fetch_folder, is_s3
from advantageflow.store.s3_client import make_client
from advantageflow.store.s3_transfer import list_objects
from advantageflow.yaml_text import parse_yaml

_PART = "transformer"
_CARD = "README.md"
_FIELDS = ("license", "license_name", "license_link")


class Licence(NamedTuple):
    """A model's licence."""

    # of the hub's model card: license, and license_name and license_link where it is one of their own
    fields: Mapping[str, str]
    files: tuple[Path, ...]  # texts of licences and notices


def base_licence(model: ModelSettings) -> Licence:
    """The licence of a base model; empty fields where the model does not say.

    Raises:
        PolicyError: the model is not there.
        StoreError: S3 refuses.
    """
    if model.name == "shapes":  # part of this package
        texts = [file for file in metadata.files("advantageflow") or () if file.name == "LICENSE"]
        return Licence({"license": "apache-2.0"}, tuple(Path(str(file.locate())) for file in texts))
    files = {path.name: path for path in _card_and_licences(model)}
    card = files.pop(_CARD, None)
    return Licence({} if card is None else _card_fields(card), tuple(files.values()))


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
    merge_adapter(transformer, saved, ADAPTER_FOLDER)
    source = _pipeline(model)
    shutil.copyfile(source / INDEX, folder / INDEX)
    for part in source.iterdir():
        if part.is_dir() and part.name != _PART:
            shutil.copytree(part, folder / part.name, dirs_exist_ok=True)
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

    parts = [INDEX, "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"]
    ignored = [f"{_PART}/*", "*.fp16.*"]
    return Path(snapshot_download(place, revision=model.revision, allow_patterns=parts, ignore_patterns=ignored))


def _card_and_licences(model: ModelSettings) -> list[Path]:
    place = model_location(model)
    if is_s3(place):
        names = [name for name in list_objects(make_client(place), place) if _is_wanted(name)]
        return [fetch_file(f"{place}/{name}", cache_folder()) for name in names]
    folder = Path(place)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            patterns = [_CARD, "LICENSE*", "NOTICE*"]
            folder = Path(snapshot_download(place, revision=model.revision, allow_patterns=patterns))
        except (OSError, ValueError):  # neither on the hub nor in its cache: nothing is known
            return []
    return [path for path in sorted(folder.iterdir()) if path.is_file() and _is_wanted(path.name)]


def _is_wanted(name: str) -> bool:
    return "/" not in name and (name == _CARD or name.upper().startswith(("LICENSE", "LICENCE", "NOTICE")))


def _card_fields(card: Path) -> dict[str, str]:
    """What the YAML at the top of a model card says of the licence."""
    parts = card.read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    values: Any = parse_yaml(parts[1], str(card))[0]
    told = values if isinstance(values, dict) else {}
    return {name: str(told[name]) for name in _FIELDS if name in told}
