"""The pipelines, a folder each, and the registry by which everything else finds them."""

from __future__ import annotations

from importlib.metadata import entry_points

from advantageflow.errors import SettingsError, UserError
from advantageflow.plugins.class_paths import find_object
from advantageflow.settings import RunSettings
from advantageflow.suggestions import suggest
from advantageflow_pipelines.pipelines.definition import Pipeline
from advantageflow_pipelines.pipelines.online.definition import ONLINE

GROUP = "advantageflow.pipelines"
PIPELINES = {pipeline.name: pipeline for pipeline in (ONLINE,)}


def pipeline_of(settings: RunSettings) -> Pipeline:
    """The pipeline of a run; raises as `find_pipeline`."""
    return find_pipeline(settings.pipeline)


def find_pipeline(name: str) -> Pipeline:
    """The pipeline of this name: built in, of an installed package (entry point group 'advantageflow.pipelines'), or by
    its path, 'package.module:NAME'.

    Raises:
        SettingsError: there is none, or it cannot be imported; says which is nearest.
    """
    if name in PIPELINES:
        return PIPELINES[name]
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    if ":" not in name and name not in installed:
        remedy = suggest(name, [*PIPELINES, *installed], what="pipelines")
        raise SettingsError(f"unknown pipeline '{name}'", where="pipeline", remedy=remedy)
    try:
        found = find_object(installed.get(name, name), where="pipeline")
    except UserError:
        raise
    except Exception as error:
        message = f"'{name}' cannot be imported: {type(error).__name__}: {error}"
        raise SettingsError(message, where="pipeline", remedy="install what it needs, or mend it") from error
    if not isinstance(found, Pipeline):
        remedy = "name an advantageflow_pipelines.pipelines.definition.Pipeline, as package.module:NAME"
        raise SettingsError(f"'{name}' is a {type(found).__name__}, not a pipeline", where="pipeline", remedy=remedy)
    return found
