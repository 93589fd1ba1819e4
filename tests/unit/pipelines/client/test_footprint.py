"""Nodes and bytes of runs against those that a Kubeflow (2.17.0, Argo 4.0.5) kept of the same pipelines.

`recorded/` holds the pipelines as they were compiled then.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advantageflow_pipelines.client.footprint import footprint
from advantageflow_pipelines.client.package import Package, compact

RECORDED = Path(__file__).parent / "recorded"


def near(measured: int) -> Any:
    return pytest.approx(measured, rel=0.15)


def package(name: str) -> Package:
    return Package.read(*json.loads(gzip.decompress((RECORDED / f"{name}.json.gz").read_bytes())))


def until_training_of_round(number: int) -> Callable[[], Package]:
    """Ten rounds of eight shards, those after round `number` not reached, nor its evaluation and the exit task."""

    def cut() -> Package:
        whole = package("10-rounds-8-shards")
        tasks = whole.components["comp-exit-handler-1"]["dag"]["tasks"]
        for later in range(number, 11):
            tasks.pop(f"evaluation-{later + 1}")
            if later > number:
                tasks.pop(f"round-{later:02}")
        del whole.root["dag"]["tasks"]["closing"]
        return whole

    return cut


@pytest.mark.parametrize(
    ("made", "measured"),
    [
        (lambda: package("1-round-1-shard"), 80_590),
        (lambda: package("2-rounds-2-shards"), 111_236),
        (lambda: package("10-rounds-8-shards"), 356_538),
        (lambda: compact(package("10-rounds-8-shards")), 138_384),
    ],
    ids=["1 x 1", "2 x 2", "10 x 8", "10 x 8, compact"],
)
def test_a_workflow_s_spec_has_the_bytes_that_were_measured(made: Callable[[], Package], measured: int) -> None:
    assert footprint(made()).spec == near(measured)


@pytest.mark.parametrize(
    ("made", "nodes", "pods", "plain", "compressed"),
    [
        (lambda: package("1-round-1-shard"), 69, 19, 558_232, None),
        (lambda: package("2-rounds-2-shards"), 144, 40, 1_214_200, 120_492),
        (until_training_of_round(6), 1_002, 279, 8_483_983, 676_172),
    ],
    ids=["1 x 1", "2 x 2", "10 x 8, too large in round 6"],
)
def test_a_run_has_the_nodes_and_bytes_that_were_measured(
    made: Callable[[], Package], nodes: int, pods: int, plain: int, compressed: int | None
) -> None:
    found = footprint(made())
    assert found.nodes == pytest.approx(nodes, rel=0.005)
    assert found.pods == pytest.approx(pods, rel=0.005)
    assert found.plain == near(plain)
    if compressed is not None:
        assert found.status == near(compressed)


def test_what_was_too_large_is_found_to_be() -> None:
    assert footprint(package("10-rounds-8-shards")).size > 1_048_576
    assert footprint(package("2-rounds-2-shards")).size == near(233_195)
