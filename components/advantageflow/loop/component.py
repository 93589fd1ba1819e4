"""The loop stage, and a shard that is scored as it is made, as Kubeflow components: inputs and outputs, no logic."""

from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.runtime import run_stage_task


@stage_component("loop")
def loop(
    training_settings: str,
    rollout_settings: str,
    reward_settings: str,
    model_settings: str,
    store_settings: str,
    seed: int,
    round_index: int,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    new_policy: dsl.Output[dsl.Model],
    adapter: dsl.Output[dsl.Model],
    learning_rate: Optional[float] = None,
    lam: Optional[str] = None,
) -> None:
    """Run rounds of rollout, reward and training in one process, or in one group of them.

    Args:
        training_settings: TrainingSettings as JSON.
        rollout_settings: RolloutSettings as JSON.
        reward_settings: RewardSettings as JSON.
        model_settings: ModelSettings as JSON.
        store_settings: StoreSettings as JSON.
        seed: of the run.
        round_index: the last round; the first is the one after the policy's.
        prompts: of the run.
        conditioning: of the prompts.
        policy: to go on from.
        new_policy: after the last round, the optimiser's state included.
        adapter: of it, for evaluations.
        learning_rate: instead of training_settings' own.
        lam: instead of training_settings' own: a number, or auto.
    """
    run_stage_task("loop", **locals())


@stage_component("evaluation")  # whose image generates and scores
def rollout(
    rollout_settings: str,
    model_settings: str,
    reward_settings: str,
    seed: int,
    round_index: int,
    shard: int,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    rollout_policy: dsl.Input[dsl.Model],
    rollouts: dsl.Output[dsl.Dataset],
    latents: dsl.Output[dsl.Dataset],
    scores: dsl.Output[dsl.Dataset],
    prompts_per_round: Optional[int] = None,
    group_size: Optional[int] = None,
    guidance_scale: Optional[float] = None,
) -> None:
    """Generate one shard of a round's images with the rollout policy, and score them beside that.

    Args:
        rollout_settings: RolloutSettings as JSON.
        model_settings: ModelSettings as JSON.
        reward_settings: RewardSettings as JSON.
        seed: of the run.
        round_index: the round, from 1.
        shard: which of the round's shards, from 0.
        prompts: of the run.
        conditioning: of the prompts.
        rollout_policy: that generates.
        rollouts: the images.
        latents: of the same rollouts.
        scores: of each rollout by each reward.
        prompts_per_round: instead of rollout_settings' own.
        group_size: instead of rollout_settings' own.
        guidance_scale: instead of rollout_settings' own.
    """
    run_stage_task("rollout", module="advantageflow.loop.shard", **locals())
