"""The prompts stage as a Kubeflow component: its inputs and outputs, no logic."""

from typing import Any, Optional

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.inputs import with_inputs
from advantageflow.runtime import run_stage_task


@stage_component("prompts")
def prompts(
    prompt_settings: str,
    model_settings: str,
    reward_settings: str,
    store_settings: str,
    seed: int,
    init_policy: str,
    prompts: dsl.Output[dsl.Dataset],
    conditioning: dsl.Output[dsl.Dataset],
    policy: dsl.Output[dsl.Model],
    adapter: dsl.Output[dsl.Model],
    rollout_policy: dsl.Output[dsl.Model],
    source: Optional[str] = None,
    made_for: Optional[str] = None,
) -> None:
    """Prepare what all rounds share: the prompts, what conditions the model for each, and the policy before round 1.

    Args:
        prompt_settings: PromptSettings as JSON.
        model_settings: ModelSettings as JSON.
        reward_settings: RewardSettings as JSON.
        store_settings: StoreSettings as JSON.
        seed: of the run.
        init_policy: policy to begin with; empty for the base model.
        prompts: texts and specs.
        conditioning: of the prompts.
        policy: before round 1.
        adapter: of it, for evaluations.
        rollout_policy: of it, for the rollouts of round 1.
        source: instead of prompt_settings' own.
        made_for: read by Kubeflow's cache alone, which takes results only from a run that was given the same.
    """
    del made_for
    run_stage_task("prompts", **locals())


def changes(
    places: dict,
    registered_model: str,
    further: dict,
    parent: dsl.OutputPath(str),  # type: ignore[valid-type]
    changed: dsl.OutputPath(str),  # type: ignore[valid-type]
    inputs_sha256: dsl.OutputPath(str),  # type: ignore[valid-type]
    in_segments: bool = False,
    **given: Any,
) -> None:
    """Look where a retraining starts, and whether there is a reason for it.

    Args:
        places: of what each of `given` holds in the run's settings, as `advantageflow.tracking.component.opening`.
        registered_model: whose champion is retrained.
        further: settings that the form does not show.
        parent: address of the policy to start from; empty for the base model.
        changed: 'true' where anything has changed since it was made.
        inputs_sha256: of what the run is made from.
        in_segments: whether the run is several pipeline runs.
        **given: the run form's values, by the names that they have there.
    """
    import json

    from advantageflow.tracking.lifecycle import settings_of_a_run

    settings = settings_of_a_run({places[name]: value for name, value in given.items()}) | further
    run_stage_task(
        "changes",
        module="advantageflow.prompts.changes",
        settings=json.dumps(settings["prompts"]),
        reward=json.dumps(settings["reward"]),
        run_settings=json.dumps(settings),
        registered_model=registered_model,
        in_segments=in_segments,
        parent_out=parent,
        changed_out=changed,
        inputs_out=inputs_sha256,
    )


def changes_component(inputs: dict[str, type]) -> Any:
    """The component of `changes`, for a form that shows these."""
    return stage_component("prompts")(with_inputs(changes, inputs))
