"""Nodes that are real processes: torchrun as in a TrainJob's pods, started by the API server that the task asks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from advantageflow.errors import StoreError
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings, TrainingSettings
from advantageflow.store.files import read_tensors
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training.stage import run

ADAPTER = "policy/adapter_model.safetensors"


class Nodes:
    """Starts what a TrainJob says, with the environment that the runtime's torch policy gives each node."""

    def __call__(self, job: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        threads = [threading.Thread(target=self._node, args=(job, rank, port)) for rank in range(len(job.pods))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failed = [pod for pod in job.pods if pod.body["status"]["phase"] == "Failed"]
        job.becomes(*(("Failed", "BackoffLimitExceeded", "") if failed else ("Complete", "JobsCompleted", "")))

    @staticmethod
    def _node(job: Any, rank: int, port: int) -> None:
        trainer = job.body["spec"]["trainer"]
        environment = {
            "PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_NODE_RANK": str(rank), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
            "XDG_CACHE_HOME": str(Path(job.arguments).parent.parent.parent.parent / f"cache-{rank}"),
            **{one["name"]: one["value"] for one in trainer.get("env", [])},
        }  # fmt: skip
        command = [sys.executable, *trainer["command"][1:], *trainer["args"]]
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            job.pods[rank].says(line.rstrip())
        job.pods[rank].ends(process.wait())


@pytest.fixture
def arguments(tmp_path: Path, maker: Any, model: ModelSettings, settings: TrainingSettings) -> dict[str, Any]:
    """Those of the stage, for two nodes."""
    return {
        "settings": settings.model_copy(update={"nodes": 2}), "reward": RewardSettings(), "model": model, "seed": 0,
        "round_index": 1, **maker.make(shards=2).artifacts(), "policy_out": tmp_path / "nodes",
        "store": StoreSettings(url=str(tmp_path / "store")),
    }  # fmt: skip


def test_two_nodes_train_the_policy_that_one_process_does(
    cluster: Any, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    cluster.controller = Nodes()
    with journal_in_use(Journal("nodes", tmp_path / "nodes.jsonl")):
        run(**arguments)
    one = tmp_path / "one"
    run(**{**arguments, "settings": arguments["settings"].model_copy(update={"nodes": 1}), "policy_out": one})
    wanted, found = (read_tensors(folder / ADAPTER) for folder in (one, tmp_path / "nodes"))
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    told = [json.loads(line) for line in (tmp_path / "nodes.jsonl").read_text().splitlines()]
    steps = [event["step"] for event in told if event["event"] == "metrics" and not event["parent"]]
    assert steps == sorted(set(steps))
    assert steps
    assert {event["task"] for event in told} == {"nodes"}
    assert not list((tmp_path / "store" / "trainjobs").rglob("manifest.json"))
    assert cluster.jobs == {}


def test_a_mistake_that_a_node_finds_is_the_task_s_own_error(cluster: Any, arguments: dict[str, Any]) -> None:
    cluster.controller = Nodes()
    (arguments["scores"][0] / "scores.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="cannot be read, it is corrupt") as caught:
        run(**arguments)
    assert caught.value.where.endswith("scores/0/scores.parquet")
    assert cluster.jobs == {}
