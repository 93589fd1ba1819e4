"""The licence of a base model: what its model card says, and the files that hold its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from advantageflow.policy.location import model_location
from advantageflow.settings import ModelSettings
from advantageflow.store.s3 import cache_folder, fetch_file, is_s3
from advantageflow.store.s3_client import make_client
from advantageflow.store.s3_transfer import list_objects
from advantageflow.yaml_text import parse_yaml

_CARD = "README.md"
_FIELDS = ("license", "license_name", "license_link")


@dataclass(frozen=True)
class Licence:
    """A model's licence.

    Attributes:
        fields: of the hub's model card: license, and license_name and license_link where it is one of their own.
        files: texts of licences and notices.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def base_licence(model: ModelSettings) -> Licence:
    """The licence of a base model; empty fields where the model does not say.

    Raises:
        PolicyError: the model is not there.
        StoreError: S3 refuses.
    """
    if model.name == "shapes":  # part of this package
        texts = [file for file in metadata.files("advantageflow") or () if file.name == "LICENSE"]
        return Licence({"license": "apache-2.0"}, tuple(Path(str(file.locate())) for file in texts))
    files = _files(model)
    card = files.pop(_CARD, None)
    return Licence({} if card is None else _fields(card), tuple(files.values()))


def _files(model: ModelSettings) -> dict[str, Path]:
    """The model card and the licence files, by name."""
    place = model_location(model)
    if is_s3(place):
        names = [name for name in list_objects(make_client(place), place) if _is_wanted(name)]
        return {name: fetch_file(f"{place}/{name}", cache_folder()) for name in names}
    if Path(place).is_dir():
        return {path.name: path for path in sorted(Path(place).iterdir()) if path.is_file() and _is_wanted(path.name)}
    from huggingface_hub import snapshot_download

    try:
        patterns = [_CARD, "LICENSE*", "NOTICE*"]
        folder = Path(snapshot_download(place, revision=model.revision, allow_patterns=patterns))
    except (OSError, ValueError):  # neither on the hub nor in its cache: nothing is known
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and _is_wanted(path.name)}


def _is_wanted(name: str) -> bool:
    return "/" not in name and (name == _CARD or name.upper().startswith(("LICENSE", "LICENCE", "NOTICE")))


def _fields(card: Path) -> dict[str, str]:
    """What the YAML at the top of a model card says of the licence."""
    parts = card.read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    values: Any = parse_yaml(parts[1], str(card))[0]
    told = values if isinstance(values, dict) else {}
    return {name: str(told[name]) for name in _FIELDS if name in told}
