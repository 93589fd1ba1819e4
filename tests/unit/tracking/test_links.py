"""Addresses of runs for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.tracking.links import add_links, mlflow_address, pipeline_address


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVANTAGEFLOW_MLFLOW_URL", raising=False)
    monkeypatch.delenv("ADVANTAGEFLOW_KFP_URL", raising=False)


@pytest.mark.parametrize(
    ("store", "url", "page"),
    [
        ("http://mlflow:5000/", None, "http://mlflow:5000/#/experiments/3/runs/abc"),
        ("http://mlflow:5000", "https://ml.example/mlflow", "https://ml.example/mlflow/#/experiments/3/runs/abc"),
        ("http://me:secret@mlflow:5000", None, "http://mlflow:5000/#/experiments/3/runs/abc"),
        ("sqlite:////runs/mlflow.db", None, None),
    ],
    ids=["on the tracking server", "or where a browser finds it", "without a password", "a file has none"],
)
def test_a_run_s_page_is(store: str, url: str | None, page: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if url:
        monkeypatch.setenv("ADVANTAGEFLOW_MLFLOW_URL", url)
    assert mlflow_address(store, "3", "abc") == page


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
