"""Settings of a run from a preset or a file, with --set overrides; every mistake in one message."""

import copy
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advantageflow.errors import SettingsError
from advantageflow.problems import accepts_text, problems_of, to_error
from advantageflow.settings import RunSettings
from advantageflow.settings_stages import function_in
from advantageflow.suggestions import suggest
from advantageflow.yaml_text import parse_yaml

PRESETS_PACKAGE = "advantageflow_pipelines.presets"
_LARGEST = 1_000_000  # bytes of a file of settings
_LONGEST_SHOWN = 200  # characters of an override in an error
_NAMED = {"training.objective"}  # sections that may be given as a name alone, which replaces the whole section


def load_settings(preset: str | None, config: Path | None, overrides: Sequence[str] = ()) -> RunSettings:
    """Settings of a run: those of a preset or of a file (defaults if neither), changed by the overrides in order.

    Args:
        config: a YAML file of settings, instead of a preset.
        overrides: texts such as 'rollout.group_size=16'; the value is read as YAML. A section is replaced as a whole:
            'training.objective=awm' leaves behind the options of the objective that the preset has.

    Raises:
        SettingsError: both a preset and a file; no such preset or file; bad YAML; a key that does not exist; a value of
            the wrong type or out of range. All wrong settings are named at once.
    """
    if preset is not None and config is not None:
        raise SettingsError(
            "a preset and a file were both given", where="--preset, --config", remedy="give one of them"
        )
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    if preset is not None:
        values, places = _read_preset(preset)
    elif config is not None:
        values, places = read_values(Path(config), str(config))
    for override in overrides:
        values = _apply(values, override, places)
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        raise to_error(problems_of(error, RunSettings, places)) from error


def preset_names() -> list[str]:
    """Names of the installed presets, sorted."""
    names = (entry.name for entry in _presets().iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def read_values(file: Traversable, name: str, example: str = "rounds: 10") -> tuple[dict[str, Any], dict[str, str]]:
    """Values of a YAML file of settings, and by dotted path where each stands.

    An error calls the file `name`; a person whose file holds no settings is shown `example`. Raises SettingsError: the
    file cannot be read, is not YAML, or holds no settings.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise SettingsError(f"is larger than {_LARGEST:,} bytes", where=name, remedy="give a file of settings")
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise SettingsError("is not UTF-8 text", where=name, remedy="save the file as UTF-8") from error
        error = error if isinstance(error, OSError) else OSError(0, str(error))  # a NUL in the path
        remedy = "give the path of a YAML file of settings that you may read"
        raise SettingsError(f"cannot be read: {error.strerror}", where=name, remedy=remedy) from error
    values, lines = parse_yaml(text, name)
    if not isinstance(values, dict):
        what = "is empty" if values is None else f"holds {type(values).__name__}, not settings"
        remedy = f"write at least one setting, such as '{example}'"
        raise SettingsError(what, where=name, remedy=remedy)
    return values, {path: f"{name}:{line}" for path, line in lines.items()}


def _presets() -> Traversable:
    try:
        return files(PRESETS_PACKAGE)
    except ModuleNotFoundError as error:
        remedy = "install the advantageflow package with its pipelines, or use --config with a file"
        raise SettingsError("no presets are installed here", where="--preset", remedy=remedy) from error


def _read_preset(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    names = preset_names()
    if name not in names:
        remedy = suggest(name, names, what="presets")
        if name.endswith((".yaml", ".yml")):
            remedy = f"use --config for a file; {remedy}"
        raise SettingsError(f"unknown preset '{name}'", where="--preset", remedy=remedy)
    values, places = read_values(_presets() / f"{name}.yaml", f"preset {name}.yaml")
    return {"preset": name, **values}, places


def _apply(values: dict[str, Any], override: str, places: dict[str, str]) -> dict[str, Any]:
    """Values with one override; notes its place."""
    where = f"--set {override if len(override) <= _LONGEST_SHOWN else override[:_LONGEST_SHOWN] + '...'}"
    key, equals, text = (part.strip() for part in override.partition("="))
    path = key.split(".")
    if not equals or not all(path):
        remedy = "write it as section.name=value, for example --set rollout.group_size=16"
        raise SettingsError("is not of the form a.b=value", where=where, remedy=remedy)
    try:
        value, _ = parse_yaml(text, where)
    except SettingsError as error:
        remedy = f"quote the value: --set '{key:.{_LONGEST_SHOWN}}=\"...\"'"
        raise SettingsError(error.message, where=where, remedy=remedy) from error
    if isinstance(value, str) and text[0] not in "'\"|>!":
        value = text  # as it was given: 'runs #2' has no comment
    elif (isinstance(value, bool | int | float) or text.startswith("#")) and accepts_text(RunSettings, path):
        value = text  # a revision or a name made of digits: only text fits, and a shell eats the quotes
    values = copy.deepcopy(values)
    section = values
    for depth, part in enumerate(path[:-1], start=1):
        if ".".join(path[:depth]) in _NAMED and isinstance(section.get(part), str):
            section[part] = {"name": section[part]}
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            remedy = "name a setting of a section, such as rollout.group_size"
            if isinstance(section, list):
                remedy = f"give the whole list: --set '{'.'.join(path[:depth])}=[...]'"
            raise SettingsError(f"'{'.'.join(path[:depth])}' is not a section", where=where, remedy=remedy)
    section[path[-1]] = value
    if key == "reward.name" and function_in(value) and not places.get("reward.column", "").startswith("--set"):
        section.pop("column", None)  # it is that of the preset's reward
    for depth in range(1, len(path)):
        places.setdefault(".".join(path[:depth]), where)
    places[key] = where
    return values
