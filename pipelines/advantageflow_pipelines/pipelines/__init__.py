"""The pipelines, a folder each, and the registry by which everything else finds them."""

from advantageflow.errors import SettingsError, UserError
from advantageflow.plugins.registry import Registry
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Pipeline

BUILT_IN = {
    "online": "advantageflow_pipelines.pipelines.online.definition:ONLINE",
    "resident": "advantageflow_pipelines.pipelines.resident.definition:RESIDENT",
    "retraining": "advantageflow_pipelines.pipelines.retraining.definition:RETRAINING",
}
PIPELINES = Registry("pipeline", "advantageflow.pipelines", BUILT_IN, "; or package.module:NAME of your own")


def pipeline_of(settings: RunSettings) -> Pipeline:
    """The pipeline of a run; raises as `find_pipeline`."""
    return find_pipeline(settings.pipeline)


def find_pipeline(name: str) -> Pipeline:
    """The pipeline of this name: built in, of an installed package (entry point group 'advantageflow.pipelines'), or by
    its path, 'package.module:NAME'.
    Raises SettingsError: there is none, or it cannot be imported; says which is nearest.
    """
    try:
        found = PIPELINES.source(name, "pipeline").find("pipeline")
    except UserError:
        raise
    except Exception as error:
        message = f"'{name}' cannot be imported: {type(error).__name__}: {error}"
        raise SettingsError(message, where="pipeline", remedy="install what it needs, or mend it") from error
    if not isinstance(found, Pipeline):
        remedy = "name an advantageflow_pipelines.pipelines.definition.Pipeline, as package.module:NAME"
        raise SettingsError(f"'{name}' is a {type(found).__name__}, not a pipeline", where="pipeline", remedy=remedy)
    return found


def built_in_pipelines() -> list[Pipeline]:
    """Those of this package."""
    return [find_pipeline(name) for name in BUILT_IN]
