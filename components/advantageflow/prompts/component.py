"""The prompts stage as a Kubeflow component: its inputs and outputs, no logic."""

from kfp import dsl

from advantageflow.image import default_image


@dsl.component(base_image=default_image("prompts"), install_kfp_package=False)
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
) -> None:
    """Prepare what all rounds share: the prompts, what conditions the model for each, and the policy before round 1."""
    from advantageflow.runtime import run_stage_task

    run_stage_task(
        "prompts",
        settings=prompt_settings,
        model=model_settings,
        reward=reward_settings,
        store=store_settings,
        seed=seed,
        init_policy=init_policy,
        prompts_out=prompts.path,
        conditioning_out=conditioning.path,
        policy_out=policy.path,
    )
