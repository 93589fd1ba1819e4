"""What a registration takes, made in a moment: a policy's folder, two reports and prompts, with little in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from advantageflow.records import ADAPTER_FOLDER, METRICS_FILE, Prompt
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings, RewardSettings
from advantageflow.store.files import write_json
from advantageflow.store.policies import PolicyState
from advantageflow.store.prompts import write_prompts
from advantageflow.tracking.promotion import Conclusion, conclude
from advantageflow.tracking.registration import Judged

DECISION = {"reasons": [], "summary": "+0.100 (at least +0.050) on seed 7"}
KNOWN = ["aa", "bb"]


def registration(folder: Path, sha256: str, parent: str = "", decision: dict[str, Any] | None = DECISION) -> Judged:
    """A policy with these weights' hash, made from `parent`, and all that is registered with it."""
    policy, reports = folder / f"policy-{sha256}", (folder / "before", folder / "after")
    (policy / ADAPTER_FOLDER).mkdir(parents=True)
    (policy / ADAPTER_FOLDER / "adapter_model.safetensors").write_bytes(sha256.encode())
    sections = {"model": ModelSettings().model_dump(mode="json"), "reward": RewardSettings().model_dump(mode="json")}
    made_from = {"continued_from": {"path": parent}} if parent else {}
    PolicyState(
        round=2, step=8, lora=LoraSettings(), policy_sha256=sha256, base_sha256="b" * 64, settings=sections,
        provenance=made_from,
    ).write(policy)  # fmt: skip
    for number, report in enumerate(reports):
        (report / "samples").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red").save(report / "samples" / "00.png")
        value = 0.25 + number / 2
        numbers = {"round": 2 * number, "strict": value, "soft": value, "tasks": {"colours": value}}
        write_json(report / METRICS_FILE, {**numbers, "reward_versions": {"shapes": "1"}})
    if not (folder / "prompts").exists():
        write_prompts(folder / "prompts", [Prompt("a red circle", "train", "colours")], {}, KNOWN)
    before, after = reports
    return Judged(
        path=policy, sampling=EvaluationSettings(), seed=7, before=before, after=after, prompts=folder / "prompts",
        decision=decision,
    )  # fmt: skip


def pipeline_run(client: MlflowClient, experiment: str) -> Run:
    """A run of a pipeline in an experiment of its own."""
    found = client.get_experiment_by_name(experiment)
    made = found.experiment_id if found else client.create_experiment(experiment)
    return client.create_run(made, tags={"mlflow.source.git.commit": "c0ffee", "lock.sha256": "f00d"})


def concluded(
    client: MlflowClient,
    folder: Path,
    sha256: str,
    *,
    name: str = "tuned",
    parent: str = "",
    decision: dict[str, Any] | None = DECISION,
) -> Conclusion:
    """A policy, registered after a run of its own."""
    return conclude(client, pipeline_run(client, "runs"), name, registration(folder, sha256, parent, decision))
