"""The first and the last task of a run on a cluster as Kubeflow components: their inputs, no logic."""

from kfp import dsl

from advantageflow.component import stage_component


@stage_component("prompts")
def opening(
    prompt_settings: str,
    model_settings: str,
    rollout_settings: str,
    reward_settings: str,
    training_settings: str,
    evaluation_settings: str,
    store_settings: str,
    seed: int,
    last_task: str,
) -> None:
    """Open the run in MLflow with its settings, so that it is there whatever the stages take from the cache."""
    import json

    from advantageflow.tracking.opening import open_pipeline_run

    sections = {
        "prompts": prompt_settings,
        "model": model_settings,
        "rollout": rollout_settings,
        "reward": reward_settings,
        "training": training_settings,
        "evaluation": evaluation_settings,
        "store": store_settings,
    }
    open_pipeline_run({name: json.loads(section) for name, section in sections.items()}, seed, last_task)


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
