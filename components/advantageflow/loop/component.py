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
    """Run rounds of rollout, reward and training in one process, or in one group of them."""
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
    """Generate one shard of a round's images with the rollout policy, and score them beside that."""
    run_stage_task("rollout", module="advantageflow.loop.shard", **locals())
