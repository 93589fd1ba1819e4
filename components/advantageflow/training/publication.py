"""What of a training outlives its task: where a policy is published, for others to start from."""

from __future__ import annotations

import os
from pathlib import Path

from advantageflow.errors import SettingsError
from advantageflow.settings import StoreSettings, TrainingSettings
from advantageflow.store.policies import PolicyState, read_policy_state
from advantageflow.store.published import join, publish_folder
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV

_DIGITS = 12  # of the policy's hash: enough to tell policies apart, few enough to read


def policy_url(store: str, state: PolicyState, run_id: str | None = None) -> str:
    """`<store>/policies/[<run>/]round-<number>-<hash>`: sorted by round, and a name never means two policies.

    Args:
        store: address of the store.
        state: of the policy; not the base model's.
        run_id: of the pipeline run on a cluster.
    """
    name = f"round-{state.round:03d}-{str(state.policy_sha256)[:_DIGITS]}"
    return join(store, "policies", *filter(None, [run_id]), name)


def publish_policy(policy: Path, store: str) -> str:
    """Publish a policy artifact; returns its address.

    Raises:
        StoreError: it cannot be published; the artifact is there all the same.
    """
    url = policy_url(store, read_policy_state(policy), os.environ.get(PIPELINE_RUN_ENV))
    publish_folder(policy, url)
    return url


def check_store(settings: TrainingSettings, store: StoreSettings) -> None:
    """Raises SettingsError where something has to outlive the task, and there is no store."""
    if store.url is None and settings.nodes > 1:
        needs, remedy = "training.nodes", "what the nodes read and make passes through it: set it, or train on one node"
    elif store.url is None and settings.checkpoint_every:
        needs, remedy = "training.checkpoint_every", "set it to a folder or s3:// address, or checkpoint_every to 0"
    else:
        return
    raise SettingsError(f"{needs} needs store.url, and there is none", where="store.url", remedy=remedy)
