"""The rollout stage as a Kubeflow component: its inputs and outputs, no logic."""

from kfp import dsl

from advantageflow.image import default_image


@dsl.component(base_image=default_image("rollout"), install_kfp_package=False)
def rollout(
    rollout_settings: str,
    model_settings: str,
    seed: int,
    round_index: int,
    shard: int,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    rollouts: dsl.Output[dsl.Dataset],
) -> None:
    """Generate one shard of a round's images with the rollout policy."""
    from advantageflow.runtime import run_stage_task

    run_stage_task(
        "rollout",
        settings=rollout_settings,
        model=model_settings,
        seed=seed,
        round_index=round_index,
        shard=shard,
        prompts=prompts.path,
        conditioning=conditioning.path,
        policy=policy.path,
        rollouts_out=rollouts.path,
    )
