"""The training stage as a Kubeflow component: its inputs and outputs, no logic."""

from dataclasses import asdict
from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.runtime import run_stage_task


@stage_component("training")
def training(
    training_settings: str,
    reward_settings: str,
    model_settings: str,
    store_settings: str,
    seed: int,
    round_index: int,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    latents: dsl.Input[list[dsl.Dataset]],
    scores: dsl.Input[list[dsl.Dataset]],
    new_policy: dsl.Output[dsl.Model],
    adapter: dsl.Output[dsl.Model],
    rollout_policy: dsl.Output[dsl.Model],
    task_config: dsl.TaskConfig,
    learning_rate: Optional[float] = None,
    lam: Optional[str] = None,
) -> None:
    """Train the policy on a round's scored rollouts and move the rollout policy.

    Args:
        training_settings: TrainingSettings as JSON.
        reward_settings: RewardSettings as JSON.
        model_settings: ModelSettings as JSON.
        store_settings: StoreSettings as JSON.
        seed: of the run.
        round_index: the round, from 1.
        prompts: of the run.
        conditioning: of the prompts.
        policy: to train.
        latents: of all shards.
        scores: of all shards.
        new_policy: after the round, the optimiser's state included.
        adapter: of it, for evaluations.
        rollout_policy: of it, for the rollouts of the next round.
        task_config: what the task is given, for a training over nodes.
        learning_rate: instead of training_settings' own.
        lam: instead of training_settings' own: a number, or auto.
    """
    run_stage_task("training", **{**locals(), "task_config": asdict(task_config)})


# The task that starts a training on several nodes. What a person gives it in GPUs, memory and nodes is for the nodes:
# Kubeflow hands that to the function, and the task's own pod, which only watches, does without.
training_on_nodes = stage_component(
    "training",
    task_config_passthroughs=[
        dsl.TaskConfigField.RESOURCES,
        dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
        dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
    ],
)(training.python_func)
