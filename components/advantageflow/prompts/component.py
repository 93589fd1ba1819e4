"""The prompts stage as a Kubeflow component: its inputs and outputs, no logic."""

from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component


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
    rollout_policy: dsl.Output[dsl.Model],
    policy_optimiser: dsl.Output[dsl.Artifact],
    source: Optional[str] = None,
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
        rollout_policy: for the rollouts of round 1.
        policy_optimiser: for the training of round 1.
        source: instead of prompt_settings' own.
    """
    from advantageflow.runtime import run_stage_task

    run_stage_task(
        "prompts",
        settings=prompt_settings,
        parameters={"source": source},
        model=model_settings,
        reward=reward_settings,
        store=store_settings,
        seed=seed,
        init_policy=init_policy,
        prompts_out=prompts.path,
        conditioning_out=conditioning.path,
        policy_out=policy.path,
        rollout_policy_out=rollout_policy.path,
        optimiser_out=policy_optimiser.path,
    )
