"""Runs that cannot finish on Kubeflow are refused, with runs that can."""

from __future__ import annotations

import re
from random import Random

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client import fit
from advantageflow_pipelines.client.fit import CLOSE, check_fits
from advantageflow_pipelines.client.footprint import LIMIT, Footprint, footprint
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.cluster import ClusterRun, cluster_run
from advantageflow_pipelines.presets import list_presets

IMAGES = dict.fromkeys(
    (*ONLINE.stage_names, "loop"), f"registry.example.com/a-team/advantageflow/stage@sha256:{'0123456789abcdef' * 4}"
)


def run_of(preset: str, *assignments: str) -> ClusterRun:
    return cluster_run(choose_settings(preset=preset, assignments=assignments), IMAGES, None)


def footprint_of(run: ClusterRun, rounds: int, shards: int) -> Footprint:
    return footprint(run.with_size(rounds=rounds, shards=shards).package())


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_can_finish(preset: str) -> None:
    run = run_of(preset)
    assert check_fits(run, footprint(run.package())) is None


def test_what_cannot_finish_is_refused_and_what_is_advised_can() -> None:
    run = run_of("tiny", "rounds=3", "rollout.shards=64")  # a loop is compiled once, a round each time
    with pytest.raises(SettingsError, match=r"this run cannot finish on Kubeflow: [\d,]+ nodes") as raised:
        check_fits(run, footprint(run.package()))
    found = re.search(r"at most (\d+) rounds .* or 3 rounds of (\d+) shards .*--init-policy", raised.value.remedy)
    assert found is not None
    rounds, shards = map(int, found.groups())
    assert footprint_of(run, rounds, 64).size < CLOSE * LIMIT
    assert 0.9 * CLOSE * LIMIT < footprint_of(run, 3, shards).size < CLOSE * LIMIT


def test_where_one_shard_is_too_much_fewer_rounds_alone_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("tiny", "rounds=4")
    monkeypatch.setattr(fit, "LIMIT", footprint_of(run, 2, 2).size / CLOSE + 1)
    with pytest.raises(SettingsError) as raised:
        check_fits(run, footprint(run.package()))
    assert re.match(r"run at most [12] rounds", raised.value.remedy)
    assert "shards" not in raised.value.remedy


def test_little_room_is_warned_of() -> None:
    run = run_of("tiny")
    assert check_fits(run, Footprint(2_000, 500, 100_000, 0, int(CLOSE * LIMIT) - 102_000)) is None
    warning = check_fits(run, Footprint(2_000, 500, 100_000, 0, LIMIT - 110_000))
    assert warning is not None
    assert "--init-policy" in warning


def test_settings_and_shards_are_part_of_what_a_run_takes() -> None:
    small = footprint_of(run_of("tiny"), 2, 2)
    assert footprint_of(run_of("tiny"), 2, 3).nodes == small.nodes + 2 * (6 + 2 * 6)
    longer = run_of("tiny", f"model.name=hub/{Random(0).getrandbits(800):x}")
    assert footprint_of(longer, 2, 2).size > small.size + 1_000
