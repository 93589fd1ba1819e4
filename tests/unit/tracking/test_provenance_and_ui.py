"""Provenance tags of a run, its settings as its first task opens it, and the command that opens MLflow's pages."""

from __future__ import annotations

import platform
import socket
from importlib import metadata
from pathlib import Path

import pytest

from advantageflow import __version__
from advantageflow.errors import TrackingError
from advantageflow.settings import RolloutSettings, RunSettings, TrainingSettings
from advantageflow.tracking.kubeflow import pipeline_address
from advantageflow.tracking.lifecycle import open_pipeline_run, settings_of_a_run
from advantageflow.tracking.pipeline_run import idle_seconds
from advantageflow.tracking.provenance import REVISION_ENV, provenance
from advantageflow.tracking.ui import metric_name, mlflow_address, run_title, ui_command


def test_provenance_names_python_and_package_versions() -> None:
    tags = provenance()
    assert tags["python"] == platform.python_version()
    assert tags["version.advantageflow"] == __version__
    assert tags["version.torch"] == metadata.version("torch")
    assert all(isinstance(value, str) and value for value in tags.values())


def test_in_an_image_the_revision_is_the_one_that_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for revision, dirty in (("1a2b3c", "false"), ("1a2b3c-dirty", "true")):
        monkeypatch.setenv(REVISION_ENV, revision)
        assert provenance()["mlflow.source.git.commit"] == "1a2b3c"
        assert provenance()["git.dirty"] == dirty


def test_the_ui_command_serves_the_given_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    command = ui_command(tmp_path / "mlflow.db", "0.0.0.0", 5001)
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert command[command.index("--port") + 1] == "5001"


def test_the_ui_without_a_store_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="start a run first"):
        ui_command(tmp_path / "mlflow.db")


def test_a_port_in_use_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(TrackingError, match="in use"):
            ui_command(tmp_path / "mlflow.db", port=other.getsockname()[1])


def test_names_that_mlflow_takes_are_kept_and_others_never_overwrite_each_other() -> None:
    from mlflow.utils.validation import _validate_metric_name

    kept = ("evaluation/task/颜色", "evaluation/task/naïve Ærø", "evaluation/red")
    bad = ("evaluation/task/text/", "evaluation/task/a#b", "evaluation/task/a*b", "evaluation/task/../x", "x" * 300)
    made = [metric_name(name) for name in (*kept, *bad)]
    assert made[: len(kept)] == list(kept)
    assert len(set(made)) == len(made)
    for name in made:
        _validate_metric_name(name)


def test_charts_are_sorted_in_the_order_in_which_a_person_reads_them() -> None:
    told = ["reward/soft_mean", "evaluation/strict", "samples/01 a", "training/loss", "training/deviation",
            "image/sharpness", "seconds/rollout", "training/seconds", "alarm/sharpness_drop"]  # fmt: skip
    sections = [metric_name(name).partition("/")[0] for name in told]
    assert sections == sorted(sections)


def test_a_run_is_named_by_model_reward_and_objective_unless_a_person_named_it() -> None:
    settings = RunSettings().model_dump(mode="json")
    assert run_title(settings) == "shapes, shapes.soft, advantage_flow"
    assert run_title({**settings, "tracking": {"name": "mine"}}) == "mine"


@pytest.mark.parametrize(
    ("store", "url", "page"),
    [
        ("http://mlflow:5000/", None, "http://mlflow:5000/#/experiments/3/runs/abc?workflowType=machine_learning"),
        (
            "http://mlflow:5000",
            "https://ml.example/mlflow",
            "https://ml.example/mlflow/#/experiments/3/runs/abc?workflowType=machine_learning",
        ),
        (
            "http://me:secret@mlflow:5000",
            None,
            "http://mlflow:5000/#/experiments/3/runs/abc?workflowType=machine_learning",
        ),
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


def test_what_the_form_gives_holds_and_defaults_that_were_left_out_are_said() -> None:
    given = {
        "rollout": '{"group_size": 4}', "training": '{"learning_rate": 0.5}', "seed": 7,
        "rollout.group_size": 6.0, "training.objective.lam": "auto",
    }  # fmt: skip
    found = settings_of_a_run(given)
    training = TrainingSettings.model_validate({"learning_rate": 0.5, "objective": {"lam": "auto"}})
    assert found == {
        "rollout": RolloutSettings(group_size=6).model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": 7,
    }


def test_settings_that_a_stage_will_refuse_are_told_as_they_are() -> None:
    assert settings_of_a_run({"rollout": '{"group_size": 1}'}) == {"rollout": {"group_size": 1}}
    assert settings_of_a_run({"rollout": "{}", "rollout.group_size": 1}) == {"rollout": {}}


def test_a_run_without_mlflow_has_a_page_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    open_pipeline_run({"seed": 7}, "round 1 / evaluation", page=tmp_path / "page" / "page.md")
    assert "no page in MLflow" in (tmp_path / "page" / "page.md").read_text()


def test_seconds_without_a_task_are_counted_once_where_tasks_overlap() -> None:
    assert idle_seconds(1000, [(3000, 9000), (4000, 5000), (11_000, 12_000)]) == 2 + 2
