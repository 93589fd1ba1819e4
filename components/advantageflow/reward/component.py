"""The reward stage as a Kubeflow component: its inputs and outputs, no logic."""

from kfp import dsl

from advantageflow.image import default_image


@dsl.component(base_image=default_image("reward"), install_kfp_package=False)
def reward(
    reward_settings: str,
    round_index: int,
    shard: int,
    prompts: dsl.Input[dsl.Dataset],
    rollouts: dsl.Input[dsl.Dataset],
    scores: dsl.Output[dsl.Dataset],
) -> None:
    """Score one shard of rollouts."""
    from advantageflow.runtime import run_stage_task

    run_stage_task(
        "reward",
        settings=reward_settings,
        round_index=round_index,
        shard=shard,
        prompts=prompts.path,
        rollouts=rollouts.path,
        scores_out=scores.path,
    )
