"""Runs are divided into segments that fit on Kubeflow; what cannot finish there is refused, with a run that can."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from random import Random
from typing import Any, TypeVar

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.footprint import LIMIT, Footprint, footprint
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.definition import Segment, divide
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing import cluster
from advantageflow_pipelines.placing.cluster import (
    CLOSE,
    ROOM,
    ClusterRun,
    check_fits,
    cluster_run,
    fitted,
    growth,
    said,
)
from advantageflow_pipelines.presets import list_presets

T = TypeVar("T")
IMAGES = dict.fromkeys(
    (*ONLINE.stage_names, "loop"), f"registry.example.com/a-team/advantageflow/stage@sha256:{'0123456789abcdef' * 4}"
)


def run_of(preset: str, *assignments: str, pipeline: str | None = None) -> ClusterRun:
    return cluster_run(choose_settings(preset=preset, assignments=assignments, pipeline=pipeline), IMAGES, None)


def shallow(work: Callable[..., T], *arguments: Any) -> T:
    """Kubeflow's compiler looks through the whole stack for each setting of a task: a thread's is short."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *arguments).result()


def footprint_of(run: ClusterRun, shards: int) -> Footprint:
    return footprint(shallow(run.with_settings(rollout={"shards": shards}).package))


def test_rounds_are_divided_evenly_and_each_segment_knows_the_next() -> None:
    assert divide(7, 3) == (Segment(1, 2, "3-4"), Segment(3, 4, "5-7"), Segment(5, 7))
    assert divide(4, 4) == (Segment(1, 4),)
    for rounds in range(1, 40):
        pieces = divide(rounds, 6)
        assert [n for one in pieces for n in range(one.first, one.last + 1)] == list(range(1, rounds + 1))
        assert max(one.last - one.first for one in pieces) < 6


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_can_finish(preset: str) -> None:
    run = run_of(preset)
    growing = shallow(growth, run)
    longest = max((one.last - one.first + 1 for one in fitted(run, growing).segments), default=run.settings.rounds)
    assert growing(longest).size < ROOM * LIMIT


@pytest.mark.parametrize("every", [1, 3])
def test_what_a_run_takes_is_known_before_it_is_compiled(every: int) -> None:
    run = run_of("sd35-ocr", "rounds=7", f"evaluation.every={every}")
    assert astuple(shallow(growth, run)(7)) == pytest.approx(astuple(footprint(shallow(run.package))), rel=0.01)


def test_a_long_run_is_divided_into_segments_of_about_half_of_the_limit() -> None:
    run = shallow(fitted, run_of("sd35-geneval", "rounds=10", "rollout.shards=8"))
    package = shallow(run.package)
    assert len(run.segments) == len(package.roots) > 1
    taken = [footprint(package.with_root(root)) for root in package.roots]
    assert all(0.3 * LIMIT < one.size < 1.05 * ROOM * LIMIT for one in taken)
    assert footprint(package) == max(taken, key=lambda one: one.size)
    assert said(run, taken[0]).startswith(f"{len(taken)} pipeline runs that continue each other, of up to ")


def test_one_round_that_is_too_large_is_refused_and_what_is_advised_can_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("tiny", "rounds=1", "rollout.shards=32")
    monkeypatch.setattr(cluster, "LIMIT", 0.7 * footprint_of(run, 32).size)
    with pytest.raises(SettingsError, match=r"this run cannot finish on Kubeflow: [\d,]+ nodes") as raised:
        shallow(check_fits, run, footprint_of(run, 32))
    found = re.search(r"--set rollout.shards=(\d+)", raised.value.remedy)
    assert found is not None
    assert 0.9 * CLOSE * cluster.LIMIT < footprint_of(run, int(found[1])).size < 1.02 * CLOSE * cluster.LIMIT


def test_too_many_rounds_of_a_pipeline_without_segments_are_refused_and_fewer_can_finish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_of("tiny", "rounds=6", "rollout.shards=1", pipeline="resident")
    taken = footprint(shallow(run.package))
    monkeypatch.setattr(cluster, "LIMIT", 0.8 * taken.size)
    assert fitted(run) is run
    with pytest.raises(SettingsError, match=r"this run cannot finish on Kubeflow: [\d,]+ nodes") as raised:
        shallow(check_fits, run, taken)
    found = re.match(r"run (\d+) rounds, and go on from .*: --init-policy", raised.value.remedy)
    assert found is not None
    fewer = footprint(shallow(run.with_settings(rounds=int(found[1])).package))
    assert 0.85 * CLOSE * cluster.LIMIT < fewer.size < 1.02 * CLOSE * cluster.LIMIT


def test_settings_and_shards_are_part_of_what_a_run_takes() -> None:
    small = footprint_of(run_of("tiny"), 2)
    assert footprint_of(run_of("tiny"), 3).nodes == small.nodes + 2 * (6 + 2 * 6)
    longer = run_of("tiny", f"model.name=hub/{Random(0).getrandbits(800):x}")
    assert footprint_of(longer, 2).size > small.size + 1_000
