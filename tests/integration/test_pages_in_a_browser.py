"""MLflow's pages in a real browser: they open on what a person came for, and obey no text that a user gave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import INSTALLED, Browser, browser
from mlflow_published import children
from PIL import Image

from advantageflow.evaluation.labels import result_table
from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.publisher import Publisher
from advantageflow.tracking.ui import page_of_run, page_of_runs

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not INSTALLED, reason="needs a browser")]


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server that nobody may ask for anything, and what it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", paths
        server.shutdown()


def tell_a_run(folder: Path, words: str) -> None:
    """Journals whose prompt, task and alarm are these words."""
    pq.write_table(pa.table({"prompt_id": ["a"], "text": [words]}), folder / "prompts.parquet")
    Image.new("RGB", (48, 48), "teal").save(folder / "picture.png")
    with stage_journal("prompts") as journal:
        journal.dataset(folder / "prompts.parquet")
        journal.warning(words)
    for number in (0, 1):
        value = 0.25 + number / 2
        told = {"round": number, "images": 8, "strict": value, "strict_ci95": [0.2, 0.8], "tasks": {words: value}}
        with stage_journal("evaluation", number) as journal:
            journal.metrics({"evaluation/strict": value, f"evaluation/task/{words}": value}, parent=True)
            journal.alarm("sharpness_drop", words, step=number)
            journal.image(f"samples/00 {words}", folder / "picture.png", step=number)
            journal.result(f"strict accuracy {value}", result_table(told), "evaluation/strict")
    with stage_journal("training", 1) as journal:
        journal.metrics({"reward/soft_mean": 0.5, "training/loss": 0.5}, parent=True)


def test_pages_open_on_results_in_the_order_that_they_are_read_and_obey_nothing(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, list[str]]
) -> None:
    address, paths = asked
    obey = 'document.title="obeyed"'
    words = f"\"><script>{obey}</script><img src='{address}/a' onerror='{obey}'>[b](javascript:{obey})![c]({address}/c)"
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    tell_a_run(tmp_path, words)
    runs = []
    for seed in (0, 1):
        settings = {"reward": {"name": words}, "seed": seed}
        publisher = Publisher(mlflow_server, "in a browser", words, settings, {"mlflow.note.content": "A note."})
        publisher.consume(read_events(tmp_path / "journal"))
        publisher.close()
        runs.append(publisher.run_id)
    client = open_client(mlflow_server)
    parent = client.get_run(runs[0])
    assert parent.data.tags["mlflow.note.content"].count("![samples]") == 2, "before and after"
    home, pictures = parent.info.experiment_id, children(client, parent)["pictures"].info.run_id

    def look(page: Browser, at: str, until: str) -> str:
        text = page.open(f"{mlflow_server}/{at.lstrip('/')}", until)
        assert "obeyed" not in page.value("document.title")
        return text

    def has(text: str) -> str:
        return f"document.body.innerText.includes('{text}')"

    with browser(tmp_path / "browser") as page:
        table = look(page, page_of_runs(client, "in a browser", None), has("strict accuracy 0.75"))
        assert f"{words}: strict accuracy 0.75" in table
        assert "evaluation/strict" in table
        assert "Traces" in table, "of a training"
        assert "Judges" not in table, "and not of a language model"
        one = look(page, page_of_run(home, runs[0]), has("mean of tasks"))
        assert "<script>" in one.partition("Description")[2]
        link = page.value("[...document.links].find((one) => one.innerText === 'pictures by round')?.href")
        assert link == f"{mlflow_server}/{page_of_run(home, pictures, 'model-metrics')}"
        charts = look(page, page_of_run(home, runs[0], "model-metrics"), r"/time\s+\(/.test(document.body.innerText)")
        charts = " ".join(charts.split())
        sections = ("average reward (1)", "evaluation (1)", "loss (1)", "time (")
        assert sorted(sections, key=charts.index) == list(sections)
        look(page, page_of_run(home, pictures, "model-metrics"), "[...document.images].some((one) => one.height > 100)")
        both = f"#/compare-runs?runs={quote(str(runs).replace(chr(39), chr(34)))}&experiments=%5B%22{home}%22%5D"
        look(page, both, has("Parallel Coordinates"))
        page.wait("document.querySelectorAll('.ant-select-selection-item, [class*=select-selection-item]').length > 1")
        assert "evaluation/strict" in page.value("document.body.innerText").partition("Run details")[0]
    assert paths == []
