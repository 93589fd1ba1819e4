"""Where the configuration files of a model are: its folder, the hub's local cache, or this package for known models."""

from __future__ import annotations

from pathlib import Path

from advantageflow.errors import PolicyError
from advantageflow.policy.location import EMBEDDED_MODEL
from advantageflow.settings import ModelSettings

KNOWN_MODELS = Path(__file__).parent / "known"
INDEX, CONFIG = "model_index.json", "config.json"


def find_configs(model: ModelSettings) -> tuple[Path, str]:
    """The folder of a model's configuration files, and what that is for a person; nothing is downloaded.

    Raises:
        PolicyError: they are in none of these places.
    """
    local = EMBEDDED_MODEL if model.name == "shapes" else Path(model.name)
    if (local / INDEX).exists():
        return local, str(local)
    cached = cached_file(model.name, INDEX, model.revision)
    if cached is not None and (cached.parent / "transformer" / CONFIG).exists():
        return cached.parent, f"{model.name}, in the local hub cache"
    name = model.name.rstrip("/").rpartition("/")[2]
    if name in known_models():
        return known_folder(name)
    names = ", ".join(known_models())
    raise PolicyError(
        "the model's configuration is not on this machine, and it is none of the known models",
        where=f"model.name: {model.name}",
        remedy=f"name a local diffusers folder, download the model first, or use one of: {names}",
    )


def known_models() -> list[str]:
    """Names of the models whose configurations this package ships, sorted."""
    return sorted(folder.name for folder in KNOWN_MODELS.iterdir() if folder.is_dir())


def known_folder(name: str) -> tuple[Path, str]:
    """What this package ships for one of the known models, as `find_configs` gives it."""
    return KNOWN_MODELS / name, f"{name}, as this package ships it"


def cached_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a hub repository in the local cache, or None; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:  # the name of a folder or of an address, not of a repository
        return None
    return Path(found) if isinstance(found, str) else None
