"""The first and the last task of a run on a cluster as Kubeflow components: their inputs, no logic."""

from typing import Optional

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
    prompts_source: Optional[str] = None,
    prompts_per_round: Optional[int] = None,
    group_size: Optional[int] = None,
    rollout_guidance_scale: Optional[float] = None,
    learning_rate: Optional[float] = None,
    lam: Optional[str] = None,
    evaluation_images: Optional[int] = None,
    round_images: Optional[int] = None,
    evaluation_guidance_scale: Optional[float] = None,
) -> None:
    """Open the run in MLflow with its settings, so that it is there whatever the stages take from the cache.

    What the run form shows one by one holds instead of the settings' own, as in the stages.
    """
    from advantageflow.tracking.opening import open_pipeline_run, sections_of_a_run

    sections = {
        "prompts": prompt_settings,
        "model": model_settings,
        "rollout": rollout_settings,
        "reward": reward_settings,
        "training": training_settings,
        "evaluation": evaluation_settings,
        "store": store_settings,
    }
    parameters: dict = {
        "prompts": {"source": prompts_source},
        "rollout": {
            "prompts_per_round": prompts_per_round,
            "group_size": group_size,
            "guidance_scale": rollout_guidance_scale,
        },
        "training": {"learning_rate": learning_rate, "lam": lam},
        "evaluation": {
            "images": evaluation_images,
            "round_images": round_images,
            "guidance_scale": evaluation_guidance_scale,
        },
    }
    open_pipeline_run(sections_of_a_run(sections, parameters), seed, last_task)


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
