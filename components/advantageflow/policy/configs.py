"""Configurations of a model's parts, without its weights: they say how large it is before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import PolicyError
from advantageflow.json_text import parse_json
from advantageflow.policy.config_files import CONFIG, INDEX, find_configs, known_folder
from advantageflow.policy.families import Family, find_family
from advantageflow.policy.location import encoder_class
from advantageflow.settings import ModelSettings

if TYPE_CHECKING:
    from torch import nn

REQUIRED = ("transformer", "vae")


@dataclass(frozen=True)
class ModelConfigs:
    """What the configuration files of a model say.

    Attributes:
        index: the content of model_index.json.
        family: of the model.
        parts: the content of each part's config.json by its folder; absent text encoders are not there.
        origin: where they were read, for a person.
    """

    index: Mapping[str, Any]
    family: Family
    parts: Mapping[str, dict[str, Any]]
    origin: str

    @property
    def text_encoders(self) -> list[str]:
        """Folders of the text encoders that the model has, in the family's order."""
        return [part for part in self.family.text_encoders if part in self.parts]

    def make(self, part: str) -> nn.Module:
        """The part with random weights, on torch's default device."""
        kinds = {"transformer": self.family.transformer_class, "vae": self.family.autoencoder_class}
        if part in kinds:
            module: nn.Module = kinds[part]()(**self.arguments(part))
            return module
        import transformers

        kind: Any = getattr(transformers, encoder_class(self.index, part) or "")
        encoder: nn.Module = kind(kind.config_class(**self.arguments(part)))
        return encoder

    def arguments(self, part: str) -> dict[str, Any]:
        """What the part's class is made with."""
        return {key: value for key, value in self.parts[part].items() if not key.startswith("_")}


def model_configs(model: ModelSettings) -> ModelConfigs:
    """Configurations from the model's folder, the hub's local cache, or those that this package ships for known models.

    Nothing is downloaded.

    Raises:
        PolicyError: they are in none of these places, a file is corrupt, or the family is not supported.
    """
    return _read(model, *find_configs(model))


def known_configs(name: str, model: ModelSettings) -> ModelConfigs:
    """What this package ships for one of the known models; its family is as the settings have it."""
    return _read(model, *known_folder(name))


def _read(model: ModelSettings, folder: Path, origin: str) -> ModelConfigs:
    index = _read_json(folder / INDEX)
    family = find_family(str(index.get("_class_name")), model, f"{folder}: {INDEX}")
    parts = {part: folder / part / CONFIG for part in (*REQUIRED, *family.text_encoders)}
    missing = [part for part in REQUIRED if not parts[part].exists()]
    if missing:
        remedy = "name a complete folder written by save_pretrained"
        raise PolicyError(f"it has no {missing[0]}/{CONFIG}", where=str(folder), remedy=remedy)
    return ModelConfigs(
        index, family, {part: _read_json(path) for part, path in parts.items() if path.exists()}, origin
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PolicyError(f"cannot be read: {error}", where=str(path), remedy="download the model again") from error
    return config
