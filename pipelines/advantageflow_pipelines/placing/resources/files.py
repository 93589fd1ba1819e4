"""Resources by the name of a preset or from a person's own file; every mistake in one message, as with settings.

A preset is for any pipeline (a file of `presets/` here, which names no stage), or for one (a file of its own folder).
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import ValidationError

from advantageflow.configure import read_values
from advantageflow.errors import SettingsError
from advantageflow.problems import Problem, problems_of, to_error
from advantageflow.settings import Settings
from advantageflow.suggestions import suggest
from advantageflow_pipelines.pipelines.definition import Pipeline
from advantageflow_pipelines.placing.resources.stage_resources import Resources, file_of, section_of

_PRESETS = files(__name__.rpartition(".")[0]) / "presets"
_YAML = (".yaml", ".yml")  # what makes a name that of a file


def load_resources(name: str, pipeline: Pipeline) -> Resources:
    """Resources of a run.
    Raises SettingsError: no such preset or file; bad YAML; a key or a stage that does not exist; a value of the wrong
    type or out of range. All that is wrong is named at once.

    Args:
        name: a preset, or the path of a YAML file (it ends in .yaml or .yml).
    """
    return _load(_file(name, pipeline), name, pipeline)


def resources_text(name: str, pipeline: Pipeline) -> str:
    """The YAML of a preset or of a file; raises as load_resources does."""
    load_resources(name, pipeline)
    return _file(name, pipeline).read_text("utf-8")


def list_resources(pipeline: Pipeline) -> dict[str, str]:
    """What each preset for a pipeline is for, by name, sorted."""
    names = sorted(_presets(pipeline))
    return {name: resources_text(name, pipeline).partition("\n")[0].lstrip("# ") for name in names}


def _presets(pipeline: Pipeline | None) -> dict[str, Traversable]:
    """The presets for a pipeline, its own before those for any; with None, those for any."""
    folders = [_PRESETS, *([pipeline.resources] if pipeline and pipeline.resources else [])]
    found = [file for folder in folders for file in folder.iterdir() if file.name.endswith(_YAML)]
    return {file.name.partition(".")[0]: file for file in found}


def _file(name: str, pipeline: Pipeline) -> Traversable:
    if name.endswith(_YAML):
        return Path(name)
    presets = _presets(pipeline)
    if name not in presets:
        remedy = f"{suggest(name, presets, what='presets of resources')}; a file's name ends in .yaml"
        raise SettingsError(f"unknown resources '{name}'", where="--resources", remedy=remedy)
    return presets[name]


def _load(file: Traversable, name: str, pipeline: Pipeline) -> Resources:
    """For each stage: the base's values, over them what holds for all stages, over them the stage's own."""
    called = name if name.endswith(_YAML) else f"resources {name}.yaml"
    values, places = read_values(file, called, "base: single-gpu")
    kind = file_of(pipeline)
    try:
        said = kind.model_validate(values)
    except ValidationError as error:
        raise to_error(problems_of(error, kind, places)) from error
    preset = "custom" if name.endswith(_YAML) else name
    base = Resources({stage.name: section_of(stage)() for stage in pipeline.stages})
    if said.base is not None:
        base = _load(_base(said.base, name, pipeline, places), said.base, pipeline)
    own = {stage: _given(said.all) | _given(getattr(said, stage)) for stage in pipeline.stage_names}
    return Resources(
        stages={stage: base.of(stage).model_copy(update=given) for stage, given in own.items()},
        preset=said.preset if "preset" in said.model_fields_set else preset,
        service_account=said.service_account if "service_account" in said.model_fields_set else base.service_account,
    )


def _base(base: str, name: str, pipeline: Pipeline, places: dict[str, str]) -> Traversable:
    """The preset that a file builds on; a pipeline's own preset may build on the one of its name for any pipeline."""
    known = _presets(None if base == name else pipeline)
    if base not in known:
        remedy = suggest(base, known, what="presets")
        raise to_error([Problem.at("base", f"unknown preset '{base}'", remedy, places)])
    return known[base]


def _given(section: Settings) -> dict[str, object]:
    """What a file says of a section, without its defaults."""
    return {name: getattr(section, name) for name in section.model_fields_set}
