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
    for name in ("ADVANTAGEFLOW_NAMESPACE", "ADVANTAGEFLOW_PIPELINE_RUN_ID", "KFP_POD_NAME", "KFP_POD_UID"):
        monkeypatch.delenv(name, raising=False)
    for module in ("cluster", "follow", "logs"):
        monkeypatch.setattr(f"advantageflow.training.trainjob.{module}.POLL", 0.02)


def make_arguments(folder: Path) -> dict[str, Any]:
    """What the stage would hand over, of artifacts that nobody reads."""
    folders: dict[str, Any] = {name: folder / "in" / name for name in ("prompts", "conditioning", "policy")}
    folders |= {name: [folder / "in" / name / str(shard) for shard in (0, 1)] for name in ("latents", "scores")}
    for value in folders.values():
        for one in value if isinstance(value, list) else [value]:
            one.mkdir(parents=True)
            (one / "file").write_text(str(one))
    return {**folders, "seed": 3, "round_index": 2, "policy_out": folder / "out" / "policy"}


def complete(job: Job) -> None:
    """Have the job end well, with a result."""
    publish_result(job)
    for pod in job.pods:
        pod.ends(0)
    job.becomes("Complete", "JobsCompleted", "")


def publish_result(job: Job) -> None:
    """What the first process of a training does at its end."""
    call = json.loads((fetch_published(job.arguments, Path()) / "arguments.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        result = Path(name)
        (result / "policy").mkdir()
        (result / "policy" / "state.json").write_text('{"round": 2}')
        event = {"time": 1, "task": "t", "event": "metrics", "values": {"loss": 1.0}}
        (result / "journal.jsonl").write_text(json.dumps(event) + "\n")
        publish_folder(result, call["result"])
