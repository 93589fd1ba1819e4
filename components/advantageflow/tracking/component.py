"""The first and the last task of a run on a cluster as Kubeflow components: their inputs, no logic."""

from typing import Any

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.inputs import with_inputs


def opening(places: dict, last_task: str, page: dsl.Output[dsl.Markdown], **given: Any) -> None:
    """Open the run in MLflow with its settings, so that it is there whatever the stages take from the cache.

    Args:
        places: of what each of `given` holds: a section of the settings as JSON ('rollout'), or a setting that holds
            instead of the section's own ('rollout.group_size').
        last_task: name of the task whose end is the end of the pipeline's work.
        page: where the run is in MLflow, for people.
        **given: the run form's values, by the names that they have there.
    """
    from pathlib import Path

    from advantageflow.tracking.opening import open_pipeline_run, settings_of_a_run

    settings = settings_of_a_run({places[name]: value for name, value in given.items()})
    open_pipeline_run(settings, last_task, Path(page.path))


def opening_component(inputs: dict[str, type]) -> Any:
    """The component of `opening`, for a form that shows these."""
    return stage_component("prompts")(with_inputs(opening, inputs))


@stage_component("evaluation")
def closing(status: dsl.PipelineTaskFinalStatus, nodes: int, store_settings: str) -> None:
    """End what the run left on nodes, and the run in MLflow with the status that it has in Kubeflow."""
    from advantageflow.settings import StoreSettings
    from advantageflow.tracking.closing import close_pipeline_run
    from advantageflow.training.trainjob.leftovers import remove_leftovers

    try:
        store = StoreSettings.model_validate_json(store_settings).url
        if nodes > 1 and store:
            remove_leftovers(store)
    finally:
        close_pipeline_run(status.state, status.error_message)
