"""The program that a stage's container starts: components of the image, with the environment that is mounted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import urllib3
from botocore.exceptions import EndpointConnectionError

from advantageflow import __version__
from advantageflow.errors import ClusterError, StoreError
from advantageflow.task import begin_again_where_away, is_away, read_environment


def start(
    module: str, *arguments: str, cwd: Path | None = None, version: str = __version__
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "advantageflow.task", "kfp.dsl.executor_main", f"{module}=={version}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def test_a_component_runs_with_what_kubeflow_tells_it(tmp_path: Path) -> None:
    """The reward stage, asked to read prompts that are not there: its own error, not one of starting it."""
    artifact = {"artifacts": [{"name": "a", "type": {"schemaTitle": "system.Dataset"}, "uri": str(tmp_path / "none")}]}
    told = {
        "inputs": {
            "parameterValues": {"reward_settings": '{"weight": "much"}', "round_index": 1, "shard": 0},
            "artifacts": {"prompts": artifact, "rollouts": artifact},
        },
        "outputs": {"artifacts": {"scores": artifact}, "outputFile": str(tmp_path / "output.json")},
    }
    told_as = ("--function_to_execute", "reward", "--executor_input", json.dumps(told))
    done = start("advantageflow.scoring.component", *told_as)
    assert done.returncode == 2
    assert "weight" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_without_the_component_says_so() -> None:
    done = start("advantageflow.scoring.other", "--function_to_execute", "other", "--executor_input", "{}")
    assert done.returncode == 2
    assert done.stderr.startswith("advantageflow.scoring.other: there is no such component in this image")
    assert "--images" in done.stderr


def test_an_image_of_another_version_than_the_pipeline_refuses_to_begin() -> None:
    command = ("advantageflow.scoring.component", "--function_to_execute", "reward", "--executor_input", "{}")
    done = start(*command, version="0.0.9")
    assert done.returncode == 2
    assert f"compiled with version 0.0.9 of AdvantageFlow, and this image has {__version__}" in done.stderr
    assert "--images" in done.stderr


def test_a_component_s_neighbours_do_not_stand_for_modules_of_the_standard_library(tmp_path: Path) -> None:
    package = tmp_path / "neighbours"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "statistics.py").write_text("")
    (package / "component.py").write_text(
        "from kfp import dsl\n\n\n@dsl.component\ndef middle():\n    import statistics\n\n"
        "    import os\n\n    print('mean', statistics.fmean([1.0, 2.0]), os.environ['OMP_WAIT_POLICY'])\n"
    )
    told = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    done = start("neighbours.component", "--function_to_execute", "middle", "--executor_input", json.dumps(told),
                 cwd=tmp_path)  # fmt: skip
    assert "mean 1.5 PASSIVE" in done.stdout, done.stderr  # threads that wait leave the cores to others


def test_variables_are_read_from_folders_as_kubernetes_mounts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes links each file from a hidden folder, which it replaces as a whole."""
    for name, value in (("AF_TEST_ONE", "1"), ("AF_TEST_TWO", "two\nlines")):
        hidden = tmp_path / "advantageflow" / "..2026_11_28"
        hidden.mkdir(parents=True, exist_ok=True)
        (hidden / name).write_text(value)
        (tmp_path / "advantageflow" / name).symlink_to(hidden / name)
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "advantageflow" / "..data").symlink_to(hidden)
    monkeypatch.setenv("AF_TEST_ONE", "mine")
    before = set(os.environ)
    read_environment(tmp_path)
    assert (os.environ["AF_TEST_ONE"], os.environ["AF_TEST_TWO"]) == ("mine", "two\nlines")
    assert set(os.environ) - before == {"AF_TEST_TWO"}
    monkeypatch.delenv("AF_TEST_TWO")


def test_nothing_is_read_where_nothing_is_mounted(tmp_path: Path) -> None:
    before = dict(os.environ)
    read_environment(tmp_path / "none")
    assert dict(os.environ) == before


FAILS_ONCE = """
from kfp import dsl


@dsl.component
def middle():
    import requests
    from pathlib import Path

    tries = Path("tries")
    tries.write_text(tries.read_text() + "." if tries.exists() else ".")
    if len(tries.read_text()) < 2:
        requests.get("http://127.0.0.1:9")
    print("after", len(tries.read_text()), "tries")
"""


def test_a_task_on_a_cluster_begins_again_after_a_lost_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "away.py").write_text(FAILS_ONCE)
    told = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-1")
    monkeypatch.setenv("ADVANTAGEFLOW_TASK_WAITS", "0,0")
    done = start("away", "--function_to_execute", "middle", "--executor_input", json.dumps(told), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "after 2 tries" in done.stdout
    assert done.stderr.count("warning: a connection was lost; try 2 of 3") == 1


@pytest.mark.parametrize(("run", "tries"), [("", "0"), ("run-1", "2")])
def test_it_begins_again_on_a_cluster_only_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, run: str, tries: str
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", run)
    monkeypatch.setenv("ADVANTAGEFLOW_TASK_WAITS", "0,0")
    monkeypatch.setenv("ADVANTAGEFLOW_TASK_TRIES", tries)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("it began again"))
    begin_again_where_away(ConnectionResetError())


def test_only_what_may_be_otherwise_later_is_tried_again() -> None:
    def raised(error: Exception, cause: Exception | None = None) -> Exception:
        error.__cause__ = cause
        return error

    assert is_away(raised(StoreError("cannot be reached"), EndpointConnectionError(endpoint_url="http://s3")))
    assert is_away(raised(OSError("the hub"), requests.ConnectTimeout()))
    assert is_away(ConnectionResetError())
    assert not is_away(FileNotFoundError())
    assert not is_away(raised(StoreError("access is refused")))
    assert not is_away(raised(ClusterError("no answer"), urllib3.exceptions.TimeoutError()))
