"""Configurations of a model's parts, without its weights: they say how large it is before anything is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.annotations import Family, Module
from advantageflow.errors import PolicyError
from advantageflow.policy.location import EMBEDDED_MODEL, INDEX, encoder_class
from advantageflow.settings import ModelSettings
from advantageflow.store.files import read_json

KNOWN_MODELS = Path(__file__).parent / "known"
CONFIG = "config.json"
REQUIRED = ("transformer", "vae")


@dataclass(frozen=True)
class ModelConfigs:
    """What the configuration files of a model say."""

    index: Mapping[str, Any]  # the content of model_index.json
    family: Family  # of the model
    # the content of each part's config.json by its folder; absent text encoders are not there
    parts: Mapping[str, dict[str, Any]]
    origin: str  # where they were read, for a person

    @property
    def text_encoders(self) -> list[str]:
        """Folders of the text encoders that the model has, in the family's order."""
        return [part for part in self.family.text_encoders if part in self.parts]

    def make(self, part: str) -> Module:
        """The part with random weights, on torch's default device."""
        kinds = {"transformer": self.family.transformer_class, "vae": self.family.autoencoder_class}
        if part in kinds:
            from advantageflow.policy.norms import fuse_norms

            module: Module = kinds[part]()(**self.arguments(part))
            fuse_norms(module)
            return module
        import transformers

        kind: Any = getattr(transformers, encoder_class(self.index, part) or "")
        encoder: Module = kind(kind.config_class(**self.arguments(part)))
        return encoder

    def arguments(self, part: str) -> dict[str, Any]:
        """What the part's class is made with."""
        return {key: value for key, value in self.parts[part].items() if not key.startswith("_")}


def find_configs(model: ModelSettings) -> tuple[Path, str]:
    """The folder of a model's configuration files, and what that is for a person; nothing is downloaded. Raises
    PolicyError: they are not in the model's folder, nor in the hub's local cache, nor does this package ship them.
    """
    local = EMBEDDED_MODEL if model.name == "shapes" else Path(model.name)
    if (local / INDEX).exists():
        return local, str(local)
    cached = cached_file(model.name, INDEX, model.revision)
    if cached is not None and (cached.parent / "transformer" / CONFIG).exists():
        return cached.parent, f"{model.name}, in the local hub cache"
    name = model.name.rstrip("/").rpartition("/")[2]
    if name in known_models():
        return _known(name)
    raise PolicyError(
        "the model's configuration is not on this machine, and it is none of the known models",
        where=f"model.name: {model.name}",
        remedy=f"name a local diffusers folder, download the model first, or use one of: {', '.join(known_models())}",
    )


def model_configs(model: ModelSettings) -> ModelConfigs:
    """What the files that `find_configs` finds say.
    Raises PolicyError: they are not found, or the family is not supported; StoreError: a file is corrupt.
    """
    return _read(model, *find_configs(model))


def known_models() -> list[str]:
    """Names of the models whose configurations this package ships, sorted."""
    return sorted(folder.name for folder in KNOWN_MODELS.iterdir() if folder.is_dir())


def known_configs(name: str, model: ModelSettings) -> ModelConfigs:
    """What this package ships for one of the known models; its family is as the settings have it."""
    return _read(model, *_known(name))


def cached_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a hub repository in the local cache, or None; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:  # the name of a folder or of an address, not of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def _known(name: str) -> tuple[Path, str]:
    return KNOWN_MODELS / name, f"{name}, as this package ships it"


def _read(model: ModelSettings, folder: Path, origin: str) -> ModelConfigs:
    from advantageflow.policy.families import find_family  # needs torch, which not every reader of files has to load

    index = read_json(folder / INDEX)
    family = find_family(str(index.get("_class_name")), model, f"{folder}: {INDEX}")
    found = {part: folder / part / CONFIG for part in (*REQUIRED, *family.text_encoders)}
    parts = {part: read_json(path) for part, path in found.items() if path.exists()}
    for part in REQUIRED:
        if part not in parts:
            remedy = "name a complete folder written by save_pretrained"
            raise PolicyError(f"it has no {part}/{CONFIG}", where=str(folder), remedy=remedy)
    return ModelConfigs(index, family, parts, origin)
