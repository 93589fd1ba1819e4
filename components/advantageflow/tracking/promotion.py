"""What becomes of a run's policy in the registry: a version, and where a gate decided, the champion or a reason.

And whether there is anything to retrain on: what a run would be made from, held against what versions were made from.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from advantageflow.annotations import MlflowClient, Run
from advantageflow.errors import TrackingError
from advantageflow.tracking.champion import Superseded, champion, change_champion
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.journal import Journal
from advantageflow.tracking.mlflow_store import open_client, patiently, tracking_errors
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV, REGISTERED_MODEL_TAG, find_pipeline_run
from advantageflow.tracking.registration import INPUTS_TAG, PARENT_TAG, Judged, last_judged, register
from advantageflow.tracking.registry import REGISTRY

PROMOTION_TAG = "promotion"  # 'promoted' or 'kept'
_REASONS_TAG = "promotion.reasons"
_LONGEST_TAG = 5000
_INPUTS = ("prompts", "model", "rollout", "reward", "training", "evaluation", "promotion", "rounds", "seed")
_MOST = 10_000


class Start(NamedTuple):
    """What a retraining begins with."""

    parent: str  # address of the champion; empty where there is none, and the base model is the start
    unchanged: str = ""  # why there is nothing to do; empty where there is


def inputs_sha256(settings: Mapping[str, Any], made_from: Mapping[str, Any]) -> str:
    """Of all that decides what a run makes of the policy that it starts from: its settings by section, as JSON values.

    `made_from` has `source_sha256` of the prompts, wherever they lie, and `reward_versions` by name, as the metadata of
    a prompts artifact have.
    """
    sections = {name: settings[name] for name in _INPUTS if name in settings}
    sections["prompts"] = {name: value for name, value in sections["prompts"].items() if name != "source"}
    told = json.dumps([sections, made_from["source_sha256"], made_from["reward_versions"]], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def look(client: MlflowClient, name: str, inputs: str) -> Start:
    """Where a retraining of a registered model starts, and whether it would repeat one that was, by its inputs' hash.
    Raises TrackingError: MLflow cannot be read.
    """
    now = champion(client, name).version
    parent = "" if now is None else f"{REGISTRY}{name}/{now}"
    with tracking_errors(client.tracking_uri):
        versions = client.search_model_versions(f"name = '{name}'", max_results=_MOST)
    for version in versions:
        if version.tags.get(INPUTS_TAG) != inputs:
            continue
        if str(version.version) == now:  # a sqlite store gives numbers
            return Start(parent, f"the champion, version {now}, was made from the same prompts and settings")
        if version.tags.get(PARENT_TAG, "") == parent:
            reasons = version.tags.get(_REASONS_TAG) or "no gate decided on it"
            made = f"version {version.version} was made from the same start and inputs, and kept: {reasons}"
            return Start(parent, made)
    return Start(parent)


@dataclass(frozen=True)
class Conclusion:
    """What became of a policy."""

    address: str  # of the version
    promoted: bool | None = None  # whether it is champion; None where no gate decided
    reasons: tuple[str, ...] = ()  # why it is not

    def __str__(self) -> str:
        if self.promoted is None:
            return f"{self.address} is registered"
        if self.promoted:
            return f"{self.address} is champion now"
        return f"{self.address} is kept as a candidate: {'; '.join(self.reasons)}"


def conclude(client: MlflowClient, run: Run, name: str, what: Judged) -> Conclusion:
    """Register a policy, and where a gate decided, make it champion or say on it why not.
    Raises PolicyError, TrackingError as `register`.

    It replaces the version that its training started from, and no other: where the champion was changed meanwhile, it
    stays a candidate.
    """
    version, decision = register(client, run, name, what), what.decision
    number = str(version.version)
    address = f"{REGISTRY}{name}/{number}"
    if decision is None:
        return Conclusion(address)
    reasons = tuple(decision["reasons"])
    if not reasons and champion(client, name).version != number:
        started_from = re.fullmatch(rf"{REGISTRY}{re.escape(name)}/(\d+)", version.tags.get(PARENT_TAG, ""))
        expected = started_from[1] if started_from else None
        try:
            change_champion(client, name, expected, number, decision["summary"])
        except Superseded as superseded:
            reasons = (superseded.message,)
    with tracking_errors(client.tracking_uri):
        said = f"**Promoted**: {decision['summary']}." if not reasons else "\n- ".join(("**Kept**:\n", *reasons))
        client.update_model_version(name, number, f"{version.description}\n\n{said}")
        tags = {PROMOTION_TAG: "kept" if reasons else "promoted", _REASONS_TAG: "; ".join(reasons)}
        for tag, value in tags.items():
            client.set_model_version_tag(name, number, tag, value[:_LONGEST_TAG])
    return Conclusion(address, not reasons, reasons)


def conclude_on_cluster(journal: Journal) -> None:
    """Conclude the run of this process's pipeline run with the policy that the task's journal names last.
    Raises TrackingError: MLflow refuses or stays away; the task can be tried again.
    """
    tracking_uri, pipeline = os.environ[TRACKING_ENV], os.environ.get(PIPELINE_RUN_ENV, "")

    def work() -> None:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            run = find_pipeline_run(client, pipeline)
        if run is None or journal.path is None:
            remedy = "run it as a task of a pipeline, whose first task opens the run"
            raise TrackingError("the pipeline's run is not in MLflow", where=tracking_uri, remedy=remedy)
        what = last_judged(journal.path.parent)
        assert what is not None
        done = conclude(client, run, run.data.tags[REGISTERED_MODEL_TAG], what)
        print(f"MLflow: {done}", file=sys.stderr, flush=True)

    patiently(work)
