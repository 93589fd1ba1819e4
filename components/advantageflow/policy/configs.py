"""Configurations of a model's parts, without its weights: they say how large it is before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.errors import PolicyError
from advantageflow.policy.loading import EMBEDDED_MODEL
from advantageflow.settings import ModelSettings

KNOWN_MODELS = Path(__file__).parent / "known"
PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
ENCODERS = PARTS[2:]
_INDEX, _CONFIG = "model_index.json", "config.json"


@dataclass(frozen=True)
class ModelConfigs:
    """What the config.json files of a model say.

    Attributes:
        parts: each file's content by name of the part; absent text encoders are not there.
        origin: where they were read, for a person.
    """

    parts: Mapping[str, dict[str, Any]]
    origin: str

    def arguments(self, part: str) -> dict[str, Any]:
        """What the part's class is made with."""
        return {key: value for key, value in self.parts[part].items() if not key.startswith("_")}


def model_configs(model: ModelSettings) -> ModelConfigs:
    """Configurations from the model's folder, the hub's local cache, or those that this package ships for known models.

    Nothing is downloaded.

    Raises:
        PolicyError: they are in none of these places, or a file is corrupt.
    """
    local = EMBEDDED_MODEL if model.name == "shapes" else Path(model.name)
    if (local / _INDEX).exists():
        return _read(local, str(local))
    cached = cached_file(model.name, _INDEX, model.revision)
    if cached is not None and (cached.parent / "transformer" / _CONFIG).exists():
        return _read(cached.parent, f"{model.name}, in the local hub cache")
    name = model.name.rstrip("/").rpartition("/")[2]
    if name in known_models():
        return known_configs(name)
    names = ", ".join(known_models())
    raise PolicyError(
        "the model's configuration is not on this machine, and it is none of the known models",
        where=f"model.name: {model.name}",
        remedy=f"name a local diffusers folder, download the model first, or use one of: {names}",
    )


def known_models() -> list[str]:
    """Names of the models whose configurations this package ships, sorted."""
    return sorted(folder.name for folder in KNOWN_MODELS.iterdir() if folder.is_dir())


def known_configs(name: str) -> ModelConfigs:
    """The configurations that this package ships for one of the known models."""
    return _read(KNOWN_MODELS / name, f"{name}, as this package ships it")


def cached_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a hub repository in the local cache, or None; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:  # the name of a folder or of an address, not of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def _read(folder: Path, origin: str) -> ModelConfigs:
    parts = {part: folder / part / _CONFIG for part in PARTS}
    missing = [part for part in PARTS[:2] if not parts[part].exists()]
    if missing:
        remedy = "name a complete folder written by save_pretrained"
        raise PolicyError(f"it has no {missing[0]}/{_CONFIG}", where=str(folder), remedy=remedy)
    return ModelConfigs({part: _read_json(path) for part, path in parts.items() if path.exists()}, origin)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyError(f"cannot be read: {error}", where=str(path), remedy="download the model again") from error
    return config
