"""The first and the last task of a run on a cluster as Kubeflow components: their inputs, no logic."""

from typing import Any

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.inputs import with_inputs


def opening(places: dict, last_task: str, **given: Any) -> None:
    """Open the run in MLflow with its settings, so that it is there whatever the stages take from the cache.

    Args:
        places: of what each of `given` holds: a section of the settings as JSON ('rollout'), or a setting that holds
            instead of the section's own ('rollout.group_size').
        last_task: name of the task whose end is the end of the pipeline's work.
        **given: the run form's values, by the names that they have there.
    """
    from advantageflow.tracking.opening import open_pipeline_run, settings_of_a_run

    open_pipeline_run(settings_of_a_run({places[name]: value for name, value in given.items()}), last_task)


def opening_component(inputs: dict[str, type]) -> Any:
    """The component of `opening`, for a form that shows these."""
    return stage_component("prompts")(with_inputs(opening, inputs))


@stage_component("evaluation")
def closing(status: dsl.PipelineTaskFinalStatus, nodes: int) -> None:
    """End what the run left on nodes, and the run in MLflow with the status that it has in Kubeflow."""
    from advantageflow.tracking.closing import close_pipeline_run
    from advantageflow.training.trainjob.leftovers import remove_left_jobs

    try:
        if nodes > 1:
            remove_left_jobs()
    finally:
        close_pipeline_run(status.state, status.error_message)
