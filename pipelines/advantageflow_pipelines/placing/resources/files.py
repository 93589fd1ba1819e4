"""Resources by the name of a preset or from a person's own file; every mistake in one message, as with settings.

Presets are for any pipeline: they name no stage but the one that trains, whatever it is called, as `trainer`.
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

_FOLDER = files(__name__.rpartition(".")[0]) / "presets"
_PRESETS = {file.name.partition(".")[0]: file for file in sorted(_FOLDER.iterdir(), key=lambda file: file.name)}
_YAML = (".yaml", ".yml")  # what makes a name that of a file


def load_resources(name: str, pipeline: Pipeline) -> Resources:
    """Resources of a run.
    Raises SettingsError: no such preset or file; bad YAML; a key or a stage that does not exist; a value of the wrong
    type or out of range. All that is wrong is named at once.

    Args:
        name: a preset, or the path of a YAML file (it ends in .yaml or .yml).

    For each stage: the base's values, over them what holds for all stages, then for the trainer, then its own.
    """
    own_file = name.endswith(_YAML)
    values, places = read_values(_file(name), name if own_file else f"resources {name}.yaml", "base: single-gpu")
    kind = file_of(pipeline)
    try:
        said = kind.model_validate(values)
    except ValidationError as error:
        raise to_error(problems_of(error, kind, places)) from error
    base = Resources({stage.name: section_of(stage)() for stage in pipeline.stages})
    if said.base is not None:
        if said.base not in _PRESETS:
            remedy = suggest(said.base, _PRESETS, what="presets")
            raise to_error([Problem.at("base", f"unknown preset '{said.base}'", remedy, places)])
        base = load_resources(said.base, pipeline)
    own = {
        stage.name: _given(said.all)
        | (_given(said.trainer) if stage.over_nodes else {})
        | _given(getattr(said, stage.name))
        for stage in pipeline.stages
    }
    return Resources(
        stages={stage: base.of(stage).model_copy(update=given) for stage, given in own.items()},
        preset=said.preset if "preset" in said.model_fields_set else "custom" if own_file else name,
        service_account=said.service_account if "service_account" in said.model_fields_set else base.service_account,
    )


def resources_text(name: str, pipeline: Pipeline) -> str:
    """The YAML of a preset or of a file; raises as load_resources does."""
    load_resources(name, pipeline)
    return _file(name).read_text("utf-8")


def list_resources() -> dict[str, str]:
    """What each preset is for, by name, sorted."""
    return {name: file.read_text("utf-8").partition("\n")[0].lstrip("# ") for name, file in _PRESETS.items()}


def _file(name: str) -> Traversable:
    if name.endswith(_YAML):
        return Path(name)
    if name not in _PRESETS:
        remedy = f"{suggest(name, _PRESETS, what='presets of resources')}; a file's name ends in .yaml"
        raise SettingsError(f"unknown resources '{name}'", where="--resources", remedy=remedy)
    return _PRESETS[name]


def _given(section: Settings) -> dict[str, object]:
    """What a file says of a section, without its defaults."""
    return {name: getattr(section, name) for name in section.model_fields_set}
