"""Resources by the name of a preset or from a person's own file; every mistake in one message, as with settings."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import ValidationError

from advantageflow.configure import read_values
from advantageflow.errors import SettingsError
from advantageflow.problems import Problem, problems_of, to_error
from advantageflow.settings import Settings
from advantageflow.suggestions import suggest
from advantageflow_pipelines.placing.images import STAGES
from advantageflow_pipelines.placing.resources.records import Resources, ResourcesFile

_PRESETS = files(__name__.rpartition(".")[0]) / "presets"
_YAML = (".yaml", ".yml")  # what makes a name that of a file


def load_resources(name: str) -> Resources:
    """Resources of a run.

    Args:
        name: a preset, or the path of a YAML file (it ends in .yaml or .yml).

    Raises:
        SettingsError: no such preset or file; bad YAML; a key that does not exist; a value of the wrong type or out of
            range. All that is wrong is named at once.
    """
    if _is_file(name):
        return _merged(*_read(_file(name), name), "custom")
    if name not in resources_names():
        remedy = f"{suggest(name, resources_names(), what='presets of resources')}; a file's name ends in .yaml"
        raise SettingsError(f"unknown resources '{name}'", where="--resources", remedy=remedy)
    return _merged(*_read(_file(name), f"resources {name}.yaml"), name)


def resources_names() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PRESETS.iterdir() if entry.name.endswith(".yaml"))


def resources_text(name: str) -> str:
    """The YAML of a preset or of a file.

    Raises:
        SettingsError: no such preset, or a file that is wrong; as load_resources.
    """
    load_resources(name)
    return _file(name).read_text("utf-8")


def list_resources() -> dict[str, str]:
    """What each preset is for, by name."""
    return {name: resources_text(name).partition("\n")[0].lstrip("# ") for name in resources_names()}


def _is_file(name: str) -> bool:
    return name.endswith(_YAML)


def _file(name: str) -> Traversable:
    return Path(name) if _is_file(name) else _PRESETS / f"{name}.yaml"


def _read(file: Traversable, name: str) -> tuple[ResourcesFile, dict[str, str]]:
    values, places = read_values(file, name, "base: single-gpu")
    try:
        return ResourcesFile.model_validate(values), places
    except ValidationError as error:
        raise to_error(problems_of(error, ResourcesFile, places)) from error


def _merged(file: ResourcesFile, places: dict[str, str], name: str) -> Resources:
    """For each stage: the base preset's values, over them what holds for all stages, over them the stage's own."""
    base = Resources(preset=name)
    if file.base is not None:
        if file.base not in resources_names():
            problem = Problem.at(
                "base", f"unknown preset '{file.base}'", suggest(file.base, resources_names(), what="presets"), places
            )
            raise to_error([problem])
        base = load_resources(file.base)
    merged = {stage: base.of(stage).model_copy(update=_given(file.all) | _given(file.of(stage))) for stage in STAGES}
    run = {name: value for name, value in _given(file).items() if name in ("preset", "service_account")}
    return base.model_copy(update={"preset": name, **run, **merged})


def _given(section: Settings) -> dict[str, object]:
    """What a file says of a section, without its defaults."""
    return {name: getattr(section, name) for name in section.model_fields_set}
