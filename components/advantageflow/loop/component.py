"""The loop stage as a Kubeflow component: its inputs and outputs, no logic."""

from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component


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
    rollout_policy: dsl.Input[dsl.Model],
    policy_optimiser: dsl.Input[dsl.Artifact],
    new_policy: dsl.Output[dsl.Model],
    new_rollout_policy: dsl.Output[dsl.Model],
    new_policy_optimiser: dsl.Output[dsl.Artifact],
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
        rollout_policy: that generates.
        policy_optimiser: its state.
        new_policy: after the last round.
        new_rollout_policy: for the next rollouts.
        new_policy_optimiser: for the next training.
        learning_rate: instead of training_settings' own.
        lam: instead of training_settings' own: a number, or auto.
    """
    from advantageflow.runtime import run_stage_task

    run_stage_task(
        "loop",
        settings=training_settings,
        parameters={"learning_rate": learning_rate, "lam": lam},
        rollout=rollout_settings,
        reward=reward_settings,
        model=model_settings,
        store=store_settings,
        seed=seed,
        round_index=round_index,
        prompts=prompts.path,
        conditioning=conditioning.path,
        policy=policy.path,
        rollout_policy=rollout_policy.path,
        optimiser=policy_optimiser.path,
        policy_out=new_policy.path,
        rollout_policy_out=new_rollout_policy.path,
        optimiser_out=new_policy_optimiser.path,
    )
