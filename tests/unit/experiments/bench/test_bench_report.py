"""The benchmark as a whole, on the embedded model: files, rows, what is shown, and that no GPU is an error."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.objectives.awm import Awm
from advantageflow.settings import RolloutSettings, RunSettings, TrainingSettings
from advantageflow_experiments.bench.embedded import bench_groups, comparable
from advantageflow_experiments.bench.peers import FOLDED, YARDSTICK
from advantageflow_pipelines.cli import main


def run_cli(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["advantageflow", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_report_holds_every_row_and_says_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("bench", "--preset", "tiny", "--repeats", "2", "--threads", "1", "--seed", "5")
    assert run_cli(*arguments, "--out", str(tmp_path / "out"), monkeypatch=monkeypatch) == 0
    report = json.loads((tmp_path / "out" / "bench.json").read_text())
    rows = report["rows"]
    assert [row["name"] for row in rows][:: len(rows) - 1] == [YARDSTICK, FOLDED]
    assert all(len(row["seconds"]) == 2 for row in rows)
    assert rows[0]["speedup"] == {"median": 1, "lowest": 1, "highest": 1}
    samples = report["round"]["rollouts"] * report["round"]["inner_epochs"]
    rates = [samples / seconds for seconds in rows[-1]["seconds"]]
    assert rows[-1]["samples_per_second"]["lowest"] == pytest.approx(min(rates))
    assert (report["seed"], report["threads"], report["preset"]) == (5, 1, "tiny")
    assert report["machine"]["version.torch"].startswith(torch.__version__.partition("+")[0])
    assert report["largest_loss_difference"] < 1e-3
    assert report["rollouts_per_second"] == report["rollouts"][-1]["images_per_second"]
    assert report["rollouts"][0]["speedup"]["median"] == 1
    assert report["best_peer"]["speedup"]["median"] > 0
    with Image.open(tmp_path / "out" / "bench.png") as chart:
        assert chart.width > 600
    shown = capsys.readouterr().out
    assert "the peers' loop" in shown
    assert "beside the best open peer's way" in shown
    assert "seed 5, 1 threads, 2 repeats" in shown
    if not torch.cuda.is_available():
        assert "the GPU part (SD3.5-Medium's shape) did not run: torch sees no GPU" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli("bench", "--device", "cuda", "--out", str(out), monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert "--device cuda: torch sees no GPU, so nothing was measured" in error
    assert not out.exists()


def test_recomputed_activations_are_for_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("bench", "--checkpointing", "--out", str(tmp_path / "out"), monkeypatch=monkeypatch) == 2
    assert "--checkpointing: is for the GPU's memory" in capsys.readouterr().err


def test_any_preset_is_made_comparable() -> None:
    settings = TrainingSettings(objective=Awm(reference_weight=0.1), rollout_decay=0.5, inner_epochs=8)
    training = comparable(settings)
    assert training.objective == AdvantageFlow(reference_weight=0.0)
    assert (training.rollout_decay, training.inner_epochs) == (0.0, 8)
    kept = AdvantageFlow(lam=0.3, reference_weight=0.0)
    assert comparable(TrainingSettings(objective=kept)).objective == kept


@pytest.mark.parametrize(
    ("steps", "inner_epochs", "microbatch", "prompts", "groups"),
    [
        (16, 4, 96, 64, 32),  # 16 steps of a microbatch: 1,536 samples of 384 rollouts
        (4, 4, 96, 64, 8),
        (1, 4, 96, 64, 8),  # one forward batch at least
        (16, 1, 96, 64, 64),  # the preset's round at most
        (4, 4, 100, 64, 9),  # a group is not divided
    ],
)
def test_a_step_of_the_benchmark_fills_a_microbatch(
    steps: int, inner_epochs: int, microbatch: int, prompts: int, groups: int
) -> None:
    training = TrainingSettings(gradient_steps=steps, inner_epochs=inner_epochs, microbatch=microbatch)
    rollout = RolloutSettings(prompts_per_round=prompts, group_size=12, batch_groups=8)
    assert bench_groups(RunSettings(training=training, rollout=rollout)) == groups
