"""The reward stage as a Kubeflow component: its inputs and outputs, no logic."""

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.runtime import run_stage_task


@stage_component("reward")
def reward(
    reward_settings: str,
    round_index: int,
    shard: int,
    prompts: dsl.Input[dsl.Dataset],
    rollouts: dsl.Input[dsl.Dataset],
    scores: dsl.Output[dsl.Dataset],
) -> None:
    """Score one shard of rollouts.

    Args:
        reward_settings: RewardSettings as JSON.
        round_index: the round, from 1.
        shard: which of the round's shards, from 0.
        prompts: of the run.
        rollouts: images of the shard.
        scores: of each rollout by each reward.
    """
    run_stage_task("reward", module="advantageflow.scoring.stage", **locals())
