"""The tasks of a run on a cluster that are no stages, as Kubeflow components: their inputs, no logic.

The first opens the run in MLflow, the last one ends it there; between them one continues a run in another pipeline run.
"""

from typing import Any

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.inputs import with_inputs


def opening(places: dict, last_task: str, page: dsl.Output[dsl.Markdown], first_run: str = "", **given: Any) -> None:
    """Open the run in MLflow with its settings, so that it is there whatever the stages take from the cache.

    Args:
        places: of what each of `given` holds: a section of the settings as JSON ('rollout'), or a setting that holds
            instead of the section's own ('rollout.group_size').
        last_task: name of the task whose end is the end of the pipeline's work.
        page: where the run is in MLflow, for people.
        first_run: the pipeline run that this one continues.
        **given: the run form's values, by the names that they have there.
    """
    from pathlib import Path

    from advantageflow.tracking.lifecycle import open_pipeline_run, settings_of_a_run

    settings = settings_of_a_run({places[name]: value for name, value in given.items()})
    open_pipeline_run(settings, last_task, first_run, Path(page.path))


def opening_component(inputs: dict[str, type]) -> Any:
    """The component of `opening`, for a form that shows these."""
    return stage_component("prompts")(with_inputs(opening, inputs))


@stage_component("prompts")
def continuing(
    rounds: str,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    rollout_policy: dsl.Input[dsl.Model],
    base: dsl.Input[dsl.Artifact],
    start: dsl.Input[dsl.Model] = None,
    inputs_sha256: str = "",
) -> None:
    """Start the pipeline run of the rounds that follow.

    Args:
        rounds: the first and the last of them, such as '6-10'.
        prompts: of the run.
        conditioning: of the prompts.
        policy: to go on from.
        rollout_policy: what rollouts read of it.
        base: report of the base policy.
        start: that the run began with, where a gate holds what comes of it against that.
        inputs_sha256: of what the run is made from, where it was looked at.
    """
    from advantageflow.tracking.continuing import continue_run

    handed = {"prompts": prompts, "conditioning": conditioning, "policy": policy, "rollout_policy": rollout_policy}
    handed |= {"base": base} | ({} if start is None else {"start": start})
    told = {"inputs_sha256": inputs_sha256} if inputs_sha256 else {}
    continue_run(rounds, {name: artifact.uri for name, artifact in handed.items()}, told)


@stage_component("evaluation")
def closing(
    status: dsl.PipelineTaskFinalStatus, nodes: int, store_settings: str, first_run: str = "", goes_on: bool = False
) -> None:
    """End what the run left on nodes, and the run in MLflow with the status that it has in Kubeflow.

    Args:
        status: of the pipeline run.
        nodes: that train.
        store_settings: StoreSettings as JSON.
        first_run: the pipeline run that this one continues.
        goes_on: whether another one continues this one.
    """
    from advantageflow.settings import StoreSettings
    from advantageflow.tracking.lifecycle import close_pipeline_run
    from advantageflow.training.trainjob.launch import remove_leftovers

    try:
        store = StoreSettings.model_validate_json(store_settings).url
        if nodes > 1 and store:
            remove_leftovers(store)
    finally:
        close_pipeline_run(status.state, status.error_message, first_run, goes_on=goes_on)
