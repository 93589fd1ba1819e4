"""The training stage: from a round's scored rollouts and a policy to a better policy.

What trains is imported where it is used: a task that has other processes train needs none of it, and starts them
seconds earlier.
"""

import logging
import os
from pathlib import Path
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings, TrainingSettings
from advantageflow.store.policies import PolicyState, copy_parts, read_policy_state
from advantageflow.store.published import join, publish_folder
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV

NO_STORE = StoreSettings()
_OF_THE_TASK = ("adapter_out", "rollout_policy_out", "task_config")
_DIGITS = 12  # of the policy's hash: enough to tell policies apart, few enough to read

logger = logging.getLogger(__name__)


def run(
    settings: TrainingSettings,
    reward: RewardSettings,
    model: ModelSettings,
    seed: int,
    round_index: int,
    *,
    prompts: Path,
    conditioning: Path,
    policy: Path,
    latents: list[Path],
    scores: list[Path],
    policy_out: Path,
    adapter_out: Path | None = None,
    rollout_policy_out: Path | None = None,
    store: StoreSettings = NO_STORE,
    task_config: dict[str, Any] | None = None,
) -> None:
    """Train the policy on one round, in as many processes as the settings say, and publish it where there is a store.

    Args:
        settings: objective, optimiser, processes and nodes.
        reward: which columns of the scores to maximise.
        model: the base model; of its parts only the transformer is loaded.
        seed: the run's seed.
        round_index: of this round.
        prompts: the prompts artifact.
        conditioning: of these prompts.
        policy: the policy that generated the rollouts.
        latents: of each shard.
        scores: of each shard.
        policy_out: folder of the policy artifact to write.
        adapter_out: folder for what evaluations read of it, an artifact of its own.
        rollout_policy_out: folder for what rollouts read of it, likewise.
        store: where checkpoints go and the policy is published.
        task_config: what Kubeflow gives this task in resources, nodes and environment (the fields of dsl.TaskConfig),
            for pods that it starts on other nodes.

    Raises:
        SettingsError: the settings need a store, and there is none; there are not enough GPUs.
        DataError: rollouts and scores do not make a whole round; names the rollout.
        PolicyError: the model or the policy cannot be loaded.
        TrainingError: training diverged, and nothing is written; or one of several processes was killed.
        StoreError: an artifact cannot be read or written.
        ClusterError: several nodes are to train, and the cluster refuses.
        Preempted: the task was asked to end, and has kept a checkpoint.
    """
    arguments = {name: value for name, value in locals().items() if name not in _OF_THE_TASK}
    check_store(settings, store)
    if settings.nodes > 1 and store.url is not None:
        from advantageflow.training.trainjob.launch import train_on_nodes

        train_on_nodes(settings, store.url, arguments, task_config)
    elif settings.processes > 1:
        from advantageflow.training.launch import train_in_processes

        train_in_processes(settings, model, arguments)
    else:
        from advantageflow.training.train import train

        train(**arguments)
    hand_over(policy_out, store, adapter_out, rollout_policy_out)


def check_store(settings: TrainingSettings, store: StoreSettings) -> None:
    """Raises SettingsError where something has to outlive the task, and there is no store."""
    if store.url is None and settings.nodes > 1:
        needs, remedy = "training.nodes", "what the nodes read and make passes through it: set it, or train on one node"
    elif store.url is None and settings.checkpoint_every:
        needs, remedy = "training.checkpoint_every", "set it to a folder or s3:// address, or checkpoint_every to 0"
    else:
        return
    raise SettingsError(f"{needs} needs store.url, and there is none", where="store.url", remedy=remedy)


def hand_over(policy: Path, store: StoreSettings, adapter: Path | None, rollout_policy: Path | None) -> None:
    """Publish a policy artifact where there is a store, and its parts as artifacts of their own: see `copy_parts`.
    Raises StoreError: one cannot be written; the policy artifact is there all the same.
    """
    if store.url is not None:
        url = policy_url(store.url, read_policy_state(policy), os.environ.get(PIPELINE_RUN_ENV))
        publish_folder(policy, url)
        logger.info("the policy is published: %s", url)
    copy_parts(policy, adapter, rollout_policy)


def policy_url(store: str, state: PolicyState, run_id: str | None = None) -> str:
    """`<store>/policies/[<run>/]round-<number>-<hash>`: sorted by round, and a name never means two policies.

    Args:
        store: address of the store.
        state: of the policy; not the base model's.
        run_id: of the pipeline run on a cluster.
    """
    name = f"round-{state.round:03d}-{str(state.policy_sha256)[:_DIGITS]}"
    return join(store, "policies", *filter(None, [run_id]), name)
