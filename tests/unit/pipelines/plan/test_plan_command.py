"""`advantageflow plan` as a person meets it, on the embedded model, whose parts are all there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]
GPU = ("--set", "model.device=cuda", "--set", "model.dtype=bfloat16")


@pytest.fixture
def plan(advantageflow: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `advantageflow plan`; gives its exit status and what it printed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return partial(advantageflow, "plan")


def test_a_preset_is_planned_without_the_libraries_that_take_seconds_to_import() -> None:
    heavy = "diffusers", "transformers", "torch", "mlflow", "peft", "pandas", "matplotlib"
    command = f"import sys; from advantageflow_pipelines.cli import app; app(['plan', '--preset', 'tiny'], standalone_mode=False); print([one for one in {heavy} if one in sys.modules])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_plan_on_the_cpu_counts_and_gives_no_time(plan: Command) -> None:
    status, out, _ = plan("--preset", "tiny")
    assert status == 0
    assert "on the CPU" in out
    assert "no time" in out
    assert "GPU-hours," not in out
    assert "Apache-2.0" in out
    assert "on Kubeflow: about 3 min more by the clock, about 20 s for each task in line" in out


def test_the_json_has_each_stage_and_adds_up(plan: Command) -> None:
    status, out, _ = plan("--preset", "tiny", *GPU, "--gpu", "l40s", "--gpus", "2", "--json")
    found = json.loads(out)
    assert status == 0
    stages = {one["stage"]: one for one in found["stages"]}
    assert list(stages) == ["prompts", "rollout", "reward", "training", "evaluation"]
    assert stages["rollout"]["work"]["images"] == 48
    assert stages["reward"]["flops"] is None
    known = [one["gpu_hours"] for one in found["stages"] if one["gpu_hours"] is not None]
    assert found["gpu_hours"] == pytest.approx(sum(known))
    path = found["path"]
    assert 0 < path["hours"] - path["parts"]["Kubeflow"] < found["gpu_hours"]
    assert stages["training"]["flops"] > stages["rollout"]["flops"] * 0.1
    assert found["speed"]["gpu"]["title"] == "NVIDIA L40S"
    assert found["pitfalls"] == []


def test_resources_give_training_its_gpus_and_a_price_makes_money_of_hours(plan: Command) -> None:
    one, eight = (
        json.loads(plan("--preset", "tiny", *GPU, "--resources", name, "--gpu-price", "2", "--json")[1])
        for name in ("single-gpu", "multi-gpu")
    )
    assert (one["speed"]["count"], eight["speed"]["count"]) == (2, 8)  # two shards; eight processes that train
    assert one["gpu_hours"] == pytest.approx(eight["gpu_hours"])
    trained = next(stage["gpu_hours"] for stage in one["stages"] if stage["stage"] == "training")
    assert one["path"]["parts"]["training"] == pytest.approx(trained)
    assert eight["path"]["parts"]["training"] == pytest.approx(trained / 8)
    _, out, _ = plan("--preset", "tiny", *GPU, "--gpu-price", "2")
    assert " at 2 each; " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--preset", "tiny", "--gpu", "h100"), "the model runs on the CPU"),
        (("--preset", "tiny", *GPU, "--gpu", "h1000"), "did you mean 'h100'?"),
        (("--preset", "tiny", "--set", "model.name=someone/else"), "none of the known models"),
    ],
)
def test_a_mistake_gets_one_message(plan: Command, arguments: tuple[str, ...], words: str) -> None:
    status, _, err = plan(*arguments)
    assert status == 2
    assert words in err
    assert "what to do: " in err


def test_a_real_preset_fits_the_gpu_that_it_names(plan: Command) -> None:
    status, out, _ = plan("--preset", "sd35-geneval", "--json")
    found = json.loads(out)
    assert status == 0
    assert not any("needs about" in one for one in found["pitfalls"])
    training = next(one for one in found["stages"] if one["stage"] == "training")
    assert 4.9e9 < training["memory"]["base weights"] < 5.0e9
