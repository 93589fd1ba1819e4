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
    """Score one shard of rollouts."""
    run_stage_task("reward", module="advantageflow.scoring.stage", **locals())
