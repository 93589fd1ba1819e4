"""Whether there is anything to retrain on: what a run would be made from, held against what versions were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advantageflow.tracking.champion import champion
from advantageflow.tracking.mlflow_store import tracking_errors
from advantageflow.tracking.promotion import INPUTS_TAG, REASONS_TAG
from advantageflow.tracking.registration import PARENT_TAG
from advantageflow.tracking.registry import REGISTRY

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SECTIONS = ("prompts", "model", "rollout", "reward", "training", "evaluation", "promotion", "rounds", "seed")
_MOST = 10_000


@dataclass(frozen=True)
class Start:
    """What a retraining begins with.

    Attributes:
        parent: address of the champion; empty where there is none, and the base model is the start.
        unchanged: why there is nothing to do; empty where there is.
    """

    parent: str
    unchanged: str = ""


def inputs_sha256(settings: Mapping[str, Any], made_from: Mapping[str, Any]) -> str:
    """Of all that decides what a run makes of the policy that it starts from.

    Args:
        settings: of the run, by section, as JSON values.
        made_from: `source_sha256` of the prompts, wherever they lie, and `reward_versions` by name; the metadata of a
            prompts artifact have both.
    """
    sections = {name: settings[name] for name in _SECTIONS if name in settings}
    sections["prompts"] = {name: value for name, value in sections["prompts"].items() if name != "source"}
    told = json.dumps([sections, made_from["source_sha256"], made_from["reward_versions"]], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def look(client: MlflowClient, name: str, inputs: str) -> Start:
    """Where a retraining starts, and whether it would repeat one that was.

    Args:
        client: of the store.
        name: of the registered model.
        inputs: hash of what it would be made from.

    Raises:
        TrackingError: MLflow cannot be read.
    """
    now = champion(client, name).version
    parent = "" if now is None else f"{REGISTRY}{name}/{now}"
    with tracking_errors(client.tracking_uri):
        versions = client.search_model_versions(f"name = '{name}'", max_results=_MOST)
    for version in versions:
        if version.tags.get(INPUTS_TAG) != inputs:
            continue
        if version.version == now:
            return Start(parent, f"the champion, version {now}, was made from the same prompts and settings")
        if version.tags.get(PARENT_TAG, "") == parent:
            reasons = version.tags.get(REASONS_TAG) or "no gate decided on it"
            return Start(
                parent, f"version {version.version} was made from the same start and inputs, and kept: {reasons}"
            )
    return Start(parent)
