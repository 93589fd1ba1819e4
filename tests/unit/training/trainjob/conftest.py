"""A cluster that TrainJobs are sent to, and what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stub.server import Cluster, serving
from kubernetes_stub.task import live_in, make_arguments
from launched import Train


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that the kubeconfig leads to."""
    with serving("team") as server:
        live_in(server, tmp_path / "kubeconfig", monkeypatch)
        yield server


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """What the stage would hand over."""
    return make_arguments(tmp_path)


@pytest.fixture
def train(cluster: Cluster, tmp_path: Path, arguments: dict[str, Any]) -> Train:
    return Train(cluster, tmp_path / "store", arguments)
