"""Addresses of runs for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.tracking.links import add_links, mlflow_address, pipeline_address


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVANTAGEFLOW_MLFLOW_URL", raising=False)
    monkeypatch.delenv("ADVANTAGEFLOW_KFP_URL", raising=False)


def test_a_run_s_page_is_on_the_tracking_server() -> None:
    assert mlflow_address("http://mlflow:5000/", "3", "abc") == "http://mlflow:5000/#/experiments/3/runs/abc"


def test_or_where_a_browser_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_MLFLOW_URL", "https://ml.example/mlflow")
    assert mlflow_address("http://mlflow:5000", "3", "abc") == "https://ml.example/mlflow/#/experiments/3/runs/abc"


def test_a_store_that_is_a_file_has_no_page() -> None:
    assert mlflow_address("sqlite:////runs/mlflow.db", "3", "abc") is None


def test_kubeflow_s_page_is_known_only_where_somebody_said_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline_address("run-1") is None
    monkeypatch.setenv("ADVANTAGEFLOW_KFP_URL", "https://kubeflow.example/pipeline/")
    assert pipeline_address("run-1") == "https://kubeflow.example/pipeline/#/runs/details/run-1"


def test_links_are_added_to_what_the_page_says(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html><body><main>\n<h1>Round 1</h1>\n</main></body></html>")
    add_links(page, {"this task": "http://a?b=1&c=2", "the whole run": "http://b"})
    links = '<a href="http://a?b=1&amp;c=2">this task</a>, <a href="http://b">the whole run</a>'
    assert f"<h1>Round 1</h1>\n<p>In MLflow: {links}</p>\n</main></body></html>" in page.read_text()
