"""Running stages in containers: what they are given, whom they run as, and what is said when there is no engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.choices import with_absolute_paths
from advantageflow_pipelines.local.containers import AWS_FOLDER, aws_environment, aws_files, cache_folder, files_read
from advantageflow_pipelines.local.runners import (
    ContainerError,
    Runner,
    RunnerKind,
    container_engine,
    read_runner,
    write_runner,
)
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir


@pytest.fixture
def workdir(tmp_path: Path) -> WorkDir:
    return create_workdir(tmp_path / "run", RunSettings())


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An address at which no engine listens."""
    address = f"unix://{tmp_path}/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", address)
    return address


def test_containers_see_the_files_that_the_settings_name_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("prompts.jsonl", "golden.json", "weights.bin", "not-named.txt")
    for name in names:
        Path(name).touch()
    for name in ("model", "policy"):
        Path(name).mkdir()
    weights = str(tmp_path / "weights.bin")
    settings = RunSettings.model_validate(
        {
            "init_policy": "policy",
            "model": {"name": "model"},
            "prompts": {"source": "prompts.jsonl"},
            "reward": {
                "golden": "golden.json",
                "others": [{"name": "jpeg", "column": "compressibility", "options": {"parts": [{"weights": weights}]}}],
            },
        }
    )
    seen = {path.name for path in files_read(with_absolute_paths(settings))}
    assert seen == {"prompts.jsonl", "golden.json", "weights.bin", "model", "policy"}


def test_what_is_no_file_of_this_machine_is_not_shown_to_containers() -> None:
    settings = RunSettings.model_validate(
        {
            "model": {"name": "stabilityai/stable-diffusion-3.5-medium"},
            "prompts": {"source": "s3://bucket/prompts.jsonl"},
            "reward": {"options": {"device": "cpu", "path": "/there/is/no/such/file"}},
        }
    )
    assert files_read(settings) == set()


def test_fetched_models_are_kept_for_the_next_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "advantageflow" / "containers"


def test_all_that_s3_is_reached_by_goes_to_the_containers() -> None:
    names = ("AWS_PROFILE", "AWS_MAX_ATTEMPTS", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_SECRET_ACCESS_KEY",
             "ADVANTAGEFLOW_S3_ADDRESSING")  # fmt: skip
    given = dict.fromkeys(names, "x")
    assert aws_environment({**given, "AWS_REGION": "", "PATH": "/bin", "LAWS_OF": "x"}) == given


def test_configuration_and_credentials_lie_where_boto3_looks_for_them_in_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert aws_files({}) == {}
    (tmp_path / ".aws").mkdir()
    (tmp_path / "mine").touch()
    environment = aws_environment({"AWS_CONFIG_FILE": "~/mine", "AWS_SHARED_CREDENTIALS_FILE": "none"})
    mine = tmp_path / "mine"
    assert environment == {"AWS_CONFIG_FILE": str(mine), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    assert aws_files(environment) == {AWS_FOLDER: tmp_path / ".aws", str(mine): mine}


def test_without_an_engine_the_error_says_where_it_was_looked_for_and_what_to_do(no_engine: str) -> None:
    with pytest.raises(ContainerError) as refused, container_engine():
        pass
    assert no_engine in refused.value.where
    assert "--runner subprocess" in refused.value.remedy


def test_a_run_remembers_what_runs_its_tasks_and_the_images_of_its_containers(workdir: WorkDir) -> None:
    assert read_runner(workdir) == Runner(RunnerKind.SUBPROCESS, {})
    for runner in (Runner(RunnerKind.INLINE), Runner(RunnerKind.DOCKER, {"prompts": "registry.example/stage:1"})):
        write_runner(workdir, runner)
        assert read_runner(workdir) == runner


def test_a_damaged_record_of_the_images_is_an_error_that_names_it(workdir: WorkDir) -> None:
    workdir.runner_file.write_text('{"kind": "kubernetes"}')
    with pytest.raises(SettingsError) as refused:
        read_runner(workdir)
    assert refused.value.where == str(workdir.runner_file)


Command = Callable[..., tuple[int, str, str]]


def test_a_run_in_containers_without_an_engine_stops_before_anything_is_made(
    advantageflow: Command, no_engine: str, tmp_path: Path
) -> None:
    status, _, shown = advantageflow("run", "--preset", "tiny", "--runner", "docker", "--workdir", "run")
    assert status == 2
    assert "no container engine answers" in shown
    assert not (tmp_path / "run").exists()


def test_images_for_processes_are_refused(advantageflow: Command) -> None:
    status, _, shown = advantageflow("run", "--preset", "tiny", "--image", "stage:1")
    assert status == 2
    assert "add --runner docker" in shown


def test_a_run_is_continued_by_the_runner_that_it_has(advantageflow: Command, workdir: WorkDir) -> None:
    status, _, shown = advantageflow("run", "--resume", str(workdir.root), "--runner", "docker")
    assert status == 2
    assert "continued with the settings it has" in shown
