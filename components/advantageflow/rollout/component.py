"""The rollout stage as a Kubeflow component: its inputs and outputs, no logic."""

from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.runtime import run_stage_task


@stage_component("rollout")
def rollout(
    rollout_settings: str,
    model_settings: str,
    seed: int,
    round_index: int,
    shard: int,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    rollout_policy: dsl.Input[dsl.Model],
    rollouts: dsl.Output[dsl.Dataset],
    latents: dsl.Output[dsl.Dataset],
    prompts_per_round: Optional[int] = None,
    group_size: Optional[int] = None,
    guidance_scale: Optional[float] = None,
) -> None:
    """Generate one shard of a round's images with the rollout policy.

    Args:
        rollout_settings: RolloutSettings as JSON.
        model_settings: ModelSettings as JSON.
        seed: of the run.
        round_index: the round, from 1.
        shard: which of the round's shards, from 0.
        prompts: of the run.
        conditioning: of the prompts.
        rollout_policy: that generates.
        rollouts: the images.
        latents: of the same rollouts.
        prompts_per_round: instead of rollout_settings' own.
        group_size: instead of rollout_settings' own.
        guidance_scale: instead of rollout_settings' own.
    """
    run_stage_task("rollout", **locals())
