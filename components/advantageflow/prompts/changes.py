"""The changes stage, the first of a retraining on a cluster: where to start, and whether there is a reason to.

It writes what Kubeflow takes for parameters: the champion's address, 'true' where something has changed, and a hash.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.prompts.sources import load_prompts
from advantageflow.rewards.base import planned_version
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.settings import PromptSettings, RewardSettings
from advantageflow.store.files import write_text
from advantageflow.store.prompts import source_sha256
from advantageflow.tracking.continuing import still_going
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.journal import current_journal
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.promotion import inputs_sha256, look

logger = logging.getLogger(__name__)


def run(
    settings: PromptSettings,
    reward: RewardSettings,
    run_settings: str,
    registered_model: str,
    *,
    in_segments: bool = False,
    parent_out: Path,
    changed_out: Path,
    inputs_out: Path,
) -> None:
    """Look for a reason to retrain.

    Args:
        run_settings: all settings of the run by section, as JSON.
        registered_model: whose champion is the start.
        in_segments: whether the run is several pipeline runs, so that one that its schedule started earlier may go on:
            then there is nothing to do.
        parent_out: file of the champion's address, or the run's own `init_policy` where there is no champion.
        changed_out: file of 'true' or 'false'.
        inputs_out: file of the hash of what the run is made from.

    Raises:
        SettingsError: there is no MLflow, or no registered model.
        UserError: prompts, rewards or MLflow cannot be read; Kubeflow does not answer.
    """
    tracking_uri = os.environ.get(TRACKING_ENV)
    if not tracking_uri or not registered_model:
        where, remedy = (
            ("tracking.registered_model", "name one") if tracking_uri else (TRACKING_ENV, "give the tasks its address")
        )
        raise SettingsError("a retraining needs MLflow and a registered model", where=where, remedy=remedy)
    whole: dict[str, Any] = json.loads(run_settings)
    inputs = inputs_sha256(whole, made_from(settings, reward))
    start = look(open_client(tracking_uri), registered_model, inputs)
    logger.info("starts from %s", start.parent or "the base model")
    going = still_going() if in_segments else None
    unchanged = f"{going} of the same schedule is still going on" if going else start.unchanged
    if unchanged:
        current_journal().warning(f"nothing to do: {unchanged}")
    current_journal().metrics({"changes/changed": float(not unchanged)}, step=0)
    written = {
        parent_out: start.parent or whole.get("init_policy") or "",
        changed_out: str(not unchanged).lower(),
        inputs_out: inputs,
    }
    for path, text in written.items():
        write_text(path, text)


def made_from(settings: PromptSettings, reward: RewardSettings) -> dict[str, Any]:
    """What `inputs_sha256` takes, of prompts as they are now; equal to a prompts artifact's metadata.
    Raises UserError: the prompts cannot be read, or a reward not be made.
    """
    prompts = load_prompts(
        settings.source, count=settings.count, seed=settings.seed, columns=settings.columns.renamed, warn=logger.info
    )
    versions = {name: planned_version(one) for name, one in term_rewards(reward).items()}
    return {"source_sha256": source_sha256(prompts), "reward_versions": versions}
