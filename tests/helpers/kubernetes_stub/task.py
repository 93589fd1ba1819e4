"""The task that has a TrainJob run: how it finds the cluster, what it hands over, and what the nodes give back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from advantageflow.store.published import fetch_published, publish_folder
from kubernetes_stub.server import Cluster
from kubernetes_stub.state import Job


def live_in(cluster: Cluster, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process train on the cluster's nodes, where it is told to train on several."""
    kubeconfig.write_text(yaml.safe_dump(cluster.kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("ADVANTAGEFLOW_TRAINING_IMAGE", "registry.example/training@sha256:0")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    for name in ("ADVANTAGEFLOW_NAMESPACE", "ADVANTAGEFLOW_PIPELINE_RUN_ID", "KFP_POD_NAME", "KFP_POD_UID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("advantageflow.kubernetes_api.POLL", 0.02)
    monkeypatch.setattr("advantageflow.kubernetes_api.PATIENCE", 1.0)


def make_arguments(folder: Path) -> dict[str, Any]:
    """What the stage would hand over, of artifacts that nobody reads."""
    folders: dict[str, Any] = {name: folder / "in" / name for name in ("prompts", "conditioning", "policy")}
    folders |= {name: [folder / "in" / name / str(shard) for shard in (0, 1)] for name in ("latents", "scores")}
    for value in folders.values():
        for one in value if isinstance(value, list) else [value]:
            one.mkdir(parents=True)
            (one / "file").write_text(str(one))
    return {**folders, "seed": 3, "round_index": 2, "policy_out": folder / "out" / "policy"}


def complete(job: Job, *lines: str) -> None:
    """Have the job end well, with a result, whose journal has these lines."""
    publish_result(job, *lines)
    for pod in job.pods:
        pod.ends(0)
    job.becomes("Complete", "JobsCompleted", "")


def step_event(step: int) -> str:
    """A line of the nodes' journal: a gradient step."""
    values = {"training/loss": 1.0}
    return json.dumps({"time": float(step), "task": "t", "event": "metrics", "values": values, "step": step,
                       "parent": False})  # fmt: skip


def publish_result(job: Job, *lines: str) -> None:
    """What the first process of a training does at its end."""
    call = json.loads((fetch_published(job.arguments, Path()) / "arguments.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        result = Path(name)
        (result / "policy").mkdir()
        (result / "policy" / "state.json").write_text('{"round": 2}')
        (result / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines or [step_event(1)]))
        publish_folder(result, call["result"])
