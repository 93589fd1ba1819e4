"""`advantageflow runs --host`: the runs of a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from kfp_stub.server import KfpStub

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def busy(server: KfpStub) -> KfpStub:
    """A server with 12 runs in two experiments, more than a page of each."""
    for name in ("even", "odd"):
        server.state.create_experiment({"display_name": name})
    first, second = server.state.experiments
    for number in range(12):
        body = {"display_name": f"r{number:02}", "experiment_id": (first, second)[number % 2], "pipeline_spec": {}}
        made = server.state.create_run(body)
        made.update({"state": "SUCCEEDED", "finished_at": "2026-01-01T02:00:00Z"})
    return server


def test_runs_of_a_cluster_are_listed_newest_first_over_all_pages(advantageflow: Command, busy: KfpStub) -> None:
    status, out, _ = advantageflow("runs", "--host", busy.url)
    assert status == 0
    assert re.findall(r"\br\d\d\b", out) == [f"r{number:02}" for number in range(11, -1, -1)]
    assert "succeeded" in out
    assert len(busy.bodies("run_service_list_runs")) == 3


def test_no_more_pages_are_fetched_than_are_shown(advantageflow: Command, busy: KfpStub) -> None:
    out = advantageflow("runs", "--host", busy.url, "--limit", "3")[1]
    assert re.findall(r"\br\d\d\b", out) == ["r11", "r10", "r09"]
    assert len(busy.bodies("run_service_list_runs")) == 1


def test_runs_of_one_experiment_are_listed(advantageflow: Command, busy: KfpStub) -> None:
    out = advantageflow("runs", "--host", busy.url, "--experiment", "odd")[1]
    assert re.findall(r"\br\d\d\b", out) == ["r11", "r09", "r07", "r05", "r03", "r01"]
    status, _, err = advantageflow("runs", "--host", busy.url, "--experiment", "Odd")
    assert status == 2
    assert "no experiment 'Odd'" in err


def test_without_runs_there_is_a_word(advantageflow: Command, server: KfpStub) -> None:
    assert "no runs there" in advantageflow("runs", "--host", server.url)[1]


def test_without_a_host_the_runs_are_those_of_this_machine(
    advantageflow: Command, server: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    assert "no runs under runs" in advantageflow("runs")[1]
    assert not server.seen


def test_names_are_not_cut_where_no_terminal_bounds_the_line(
    advantageflow: Command, server: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    experiment = server.state.create_experiment({"display_name": "e"})["experiment_id"]
    name = f"a run with a {'very ' * 30}long name"
    server.state.create_run({"display_name": name, "experiment_id": experiment, "pipeline_spec": {}})
    assert name in advantageflow("runs", "--host", server.url)[1]
