"""A cluster that TrainJobs are sent to, and what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stub.server import Cluster, serving
from kubernetes_stub.state import Job
from kubernetes_stub.task import live_in, make_arguments, publish_result


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
def trained() -> Callable[[Job], None]:
    """Publishes what a training makes."""
    return publish_result
