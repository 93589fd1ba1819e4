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
        policy_out=new_policy.path,
        adapter_out=adapter.path,
    )
