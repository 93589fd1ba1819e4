"""The working folder: new or empty, used once at a time, rid of what is half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from advantageflow.errors import SettingsError, StoreError
from advantageflow.tracking.mlflow_store import sqlite_uri
from advantageflow_pipelines.configuration.checks import check_disk
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local import workdir as workdir_module
from advantageflow_pipelines.local.summary import is_complete, read_summary
from advantageflow_pipelines.local.tracking import _write_record, tracking_uri
from advantageflow_pipelines.local.workdir import (
    WorkDir,
    attempt,
    create_workdir,
    locked,
    open_workdir,
    remove_unfinished,
    seconds_of_earlier_attempts,
)

SETTINGS = choose_settings(preset="tiny", assignments=["training.learning_rate=0.001"], seed=3)


def test_an_opened_run_has_the_settings_it_was_made_with(tmp_path: Path) -> None:
    made = create_workdir(tmp_path / "run", SETTINGS)
    opened = open_workdir(tmp_path / "run")
    assert (opened.root, opened.settings) == (made.root, SETTINGS)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert create_workdir(tmp_path, SETTINGS).root == tmp_path


def test_runs_made_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    roots = {create_workdir(None, SETTINGS, tmp_path / "runs").root for _ in range(3)}
    assert len(roots) == 3
    assert all(root.name.startswith("tiny-2") for root in roots)


def test_runs_made_in_the_same_instant_get_folders_of_their_own(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def make(_: int) -> Path:
        together.wait()
        return create_workdir(None, SETTINGS, tmp_path / "runs").root

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 8


def test_of_two_runs_that_want_one_folder_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_workdir(tmp_path / "run", SETTINGS)
    monkeypatch.setattr(workdir_module, "_check_new", lambda root: None)  # both looked before either wrote
    with pytest.raises(StoreError, match="another run has just taken this folder"):
        create_workdir(tmp_path / "run", SETTINGS)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="not empty"):
        create_workdir(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_a_run_is_refused_with_how_to_continue_it(tmp_path: Path) -> None:
    create_workdir(tmp_path, SETTINGS)
    with pytest.raises(StoreError, match=f"advantageflow run --resume {tmp_path}"):
        create_workdir(tmp_path, SETTINGS)


def test_a_file_is_no_working_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        create_workdir(tmp_path / "file", SETTINGS)
    with pytest.raises(StoreError, match="not a folder"):
        create_workdir(tmp_path / "file" / "run", SETTINGS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        create_workdir(tmp_path, SETTINGS)
    with pytest.raises(StoreError, match="no permission to write"):
        create_workdir(tmp_path / "run", SETTINGS)


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENAMETOOLONG])
def test_a_folder_that_cannot_be_reached_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fails(path: Path, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "stat", fails)
    with pytest.raises(StoreError, match=str(tmp_path)):
        create_workdir(tmp_path / "run", SETTINGS)
    with pytest.raises(StoreError, match=str(tmp_path)):
        check_disk(SETTINGS, tmp_path / "run")
    with pytest.raises(StoreError, match=str(tmp_path)):
        open_workdir(tmp_path / "run")


def test_a_read_only_file_system_is_refused_even_for_root() -> None:
    with pytest.raises(StoreError) as caught:
        create_workdir(Path("/proc/advantageflow"), SETTINGS)
    assert "/proc" in caught.value.where


def test_a_folder_without_a_run_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no run to continue"):
        open_workdir(tmp_path)


def test_only_tasks_that_came_to_their_end_stay(tmp_path: Path) -> None:
    workdir = create_workdir(tmp_path / "run", SETTINGS)
    pipeline = workdir.artifacts / "online-1"
    for task in ("prompts", "for-loop-2-iteration-0/rollout"):
        (pipeline / task / "output").mkdir(parents=True)
        (pipeline / task / "output" / "data").touch()
        (pipeline / task / "executor_output.json").touch()
    for task in ("training", "for-loop-2-iteration-0/reward", "for-loop-2-iteration-1/rollout"):
        (pipeline / task / "output").mkdir(parents=True)
        (pipeline / task / "output" / "half").touch()
    (workdir.artifacts / "online-2" / "prompts").mkdir(parents=True)
    remove_unfinished(workdir)
    left = {str(path.relative_to(workdir.artifacts)) for path in workdir.artifacts.rglob("*") if path.is_file()}
    assert left == {
        "online-1/prompts/output/data",
        "online-1/prompts/executor_output.json",
        "online-1/for-loop-2-iteration-0/rollout/output/data",
        "online-1/for-loop-2-iteration-0/rollout/executor_output.json",
    }
    assert not (workdir.artifacts / "online-2").exists()


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    workdir = create_workdir(tmp_path / "run", SETTINGS)
    code = (
        "import sys; from pathlib import Path; from advantageflow_pipelines.local.workdir import WorkDir, locked\n"
        "with locked(WorkDir(Path(sys.argv[1]))): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(workdir.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(StoreError, match="another process runs here"), locked(workdir):
            pass
        other.kill()
    with locked(workdir):
        pass


def test_the_seconds_of_attempts_add_up_also_of_one_that_failed(tmp_path: Path) -> None:
    workdir = WorkDir(tmp_path)
    assert seconds_of_earlier_attempts(workdir) == 0
    with attempt(workdir):
        pass
    with pytest.raises(ValueError, match="on purpose"), attempt(workdir):
        raise ValueError("on purpose")
    assert len(workdir.attempts_file.read_text().splitlines()) == 2
    assert 0 < seconds_of_earlier_attempts(workdir) < 5


def test_a_half_line_of_an_attempt_costs_only_its_seconds(tmp_path: Path) -> None:
    workdir = WorkDir(tmp_path)
    workdir.attempts_file.write_bytes(b'{"started": 1.0, "ended": 3.0}\n\xff\n[]\n{"started": "x"}\n{"started": 1')
    assert seconds_of_earlier_attempts(workdir) == 2.0


@pytest.mark.parametrize("content", ["", '{"base": {"str', "[]", "{}"])
def test_a_damaged_summary_is_no_end_of_a_run(tmp_path: Path, content: str) -> None:
    workdir, warnings = create_workdir(tmp_path / "run", SETTINGS), list[str]()
    workdir.summary_file.write_text(content)
    with pytest.raises(StoreError, match="write it again with: advantageflow run --resume"):
        read_summary(workdir)
    assert is_complete(workdir, warnings.append) is None
    assert "it is written again" in warnings[0]


@pytest.mark.parametrize(
    ("name", "message"), [("{{$.inputs}}", "as a placeholder"), ("a{{$b", "as a placeholder"), ("\udcff", "not UTF-8")]
)
def test_a_folder_whose_name_kubeflow_or_mlflow_would_misread_is_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        create_workdir(tmp_path / name / "run", SETTINGS)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["what?now", "a%20b", "a#b", "plain"])
def test_the_store_of_a_folder_of_any_name_lies_in_it(tmp_path: Path, name: str) -> None:
    from sqlalchemy import make_url

    uri = sqlite_uri(tmp_path / name / "mlflow.db")
    assert make_url(uri).database == str(tmp_path / name / "mlflow.db")


def test_a_password_of_the_store_is_not_kept_and_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, uri = create_workdir(tmp_path / "run", SETTINGS), "postgresql://me:secret@db/mlflow"
    _write_record(made, uri, "1", complete=True)
    assert "secret" not in (made.root / "mlflow.json").read_text()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri(made, tmp_path) == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert tracking_uri(made, tmp_path) == "postgresql://me:***@db/mlflow"
