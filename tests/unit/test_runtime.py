"""Running a stage as a pipeline task: arguments, journal, errors and exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import advantageflow
from advantageflow.errors import SettingsError
from advantageflow.runtime import parse_arguments, run_stage_task
from advantageflow.settings import RewardSettings, RolloutSettings
from advantageflow.tracking.reading import read_events
from advantageflow.warm import WarmTemplate

STAGE = """
import os
from collections.abc import Iterator
from pathlib import Path
from advantageflow.errors import DataError
from advantageflow.settings import RewardSettings
from advantageflow.tracking.journal import current_journal

def run(settings: RewardSettings, *, prompts: Path, scores: list[Path], note: str | None, out: Path) -> None:
    journal = current_journal()
    journal.useful()
    journal.progress(1, 1, "scores")
    if note == "user error":
        raise DataError("no such prompt", where=str(prompts), remedy="mend it")
    if note == "bug":
        raise ZeroDivisionError("a bug")
    if note == "killed":
        os.kill(os.getpid(), 9)
    out.write_text(f"{settings.column} {prompts.name} {[score.name for score in scores]} {note} {os.getpid()}")
"""


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the package of a stage 'trial', importable as advantageflow.trial here."""
    (tmp_path / "stages" / "trial").mkdir(parents=True)
    (tmp_path / "stages" / "trial" / "stage.py").write_text(textwrap.dedent(STAGE))
    monkeypatch.setattr(advantageflow, "__path__", [*advantageflow.__path__, str(tmp_path / "stages")])
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    monkeypatch.delenv("ADVANTAGEFLOW_WARM", raising=False)
    yield tmp_path
    for module in [name for name in sys.modules if name.startswith("advantageflow.trial")]:
        del sys.modules[module]


def arguments(folder: Path, note: str = "") -> dict[str, object]:
    return {
        "settings": json.dumps({"column": "strict"}),
        "prompts": "a/prompts",
        "scores": ["b/one", "b/two"],
        "note": note,
        "out": str(folder / "out"),
        "round_index": 3,
        "shard": 1,
    }


def test_a_task_runs_its_stage_with_parsed_arguments_and_journals_it(stages: Path) -> None:
    run_stage_task("trial", **arguments(stages))
    assert (stages / "out").read_text() == f"strict prompts ['one', 'two'] None {os.getpid()}"
    events = read_events(stages / "journal")
    assert [event["event"] for event in events] == ["start", "useful", "progress", "end"]
    start = events[0]
    assert (start["stage"], start["round"], start["shard"]) == ("trial", 3, 1)
    assert start["settings"] == {"settings": RewardSettings(column="strict").model_dump(mode="json")}
    assert start["process_started"] < start["time"]
    assert {event["task"] for event in events} == {start["task"]}


def test_a_users_error_is_shown_recorded_and_exits_with_2(stages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_stage_task("trial", **arguments(stages, "user error"))
    assert leaving.value.code == 2
    assert capsys.readouterr().err == "a/prompts: no such prompt\n  what to do: mend it\n"
    error = read_events(stages / "journal")[-1]
    assert (error["event"], error["kind"], error["message"]) == ("error", "DataError", "no such prompt")
    assert (error["where"], error["remedy"], error["traceback"]) == ("a/prompts", "mend it", None)


def test_a_bug_is_recorded_with_its_traceback_and_raised(stages: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_stage_task("trial", **arguments(stages, "bug"))
    error = read_events(stages / "journal")[-1]
    assert error["kind"] == "ZeroDivisionError"
    assert 'raise ZeroDivisionError("a bug")' in error["traceback"]


def test_settings_that_do_not_parse_are_a_users_error_naming_the_field(stages: Path) -> None:
    wrong = {**arguments(stages), "settings": json.dumps({"column": 7})}
    with pytest.raises(SystemExit) as leaving:
        run_stage_task("trial", **wrong)
    assert leaving.value.code == 2
    error = read_events(stages / "journal")[-1]
    assert (error["kind"], error["where"]) == ("SettingsError", "column")


def test_arguments_are_parsed_by_the_type_hints_of_run() -> None:
    def run(settings: RolloutSettings, reward: RewardSettings, seed: int, start: str | None, out: Path) -> None: ...

    carried = {"settings": '{"steps": 3}', "reward": "{}", "seed": 7.0, "start": "", "out": "x"}
    parsed = parse_arguments(run, {**carried, "round_index": 1, "shard": 0})
    assert parsed["settings"].steps == 3
    assert parsed["reward"] == RewardSettings()
    assert type(parsed["seed"]) is int
    assert (parsed["start"], parsed["out"]) == (None, Path("x"))
    assert set(parsed) == {"settings", "reward", "seed", "start", "out"}
    with pytest.raises(SettingsError, match="group_size"):
        parse_arguments(run, {"settings": '{"group_size": 1}'})


def test_a_parameter_holds_instead_of_the_setting_of_its_name_in_the_stage_and_in_the_journal(stages: Path) -> None:
    run_stage_task("trial", parameters={"column": "soft", "weight": None}, **arguments(stages))
    assert (stages / "out").read_text().startswith("soft ")
    settings = read_events(stages / "journal")[0]["settings"]["settings"]
    assert (settings["column"], settings["weight"]) == ("soft", 1.0)


def test_a_parameter_that_is_not_allowed_is_a_users_error_naming_it(stages: Path) -> None:
    with pytest.raises(SystemExit):
        run_stage_task("trial", parameters={"weight": -1.0}, **arguments(stages))
    start, error = read_events(stages / "journal")
    assert start["settings"] == {"settings": {"column": "strict"}}, "what was given, as nothing else is known"
    assert (error["kind"], error["where"]) == ("SettingsError", "weight (parameter weight)")


def test_a_stage_may_lie_in_a_module_of_any_name(stages: Path) -> None:
    run_stage_task("attempt", module="advantageflow.trial.stage", **arguments(stages))
    assert read_events(stages / "journal")[0]["stage"] == "attempt"


def test_an_artifact_that_a_task_was_not_given_is_none() -> None:
    def run(base: Path | None) -> None: ...

    assert parse_arguments(run, {"base": ""}) == {"base": None}
    assert parse_arguments(run, {"base": "x/y"}) == {"base": Path("x/y")}


@pytest.mark.skipif(not WarmTemplate.supported(), reason="warm workers need Linux")
class TestWarm:
    """The same tasks with a template: in a worker, with the same journal and exit statuses."""

    def run_task(self, stages: Path, note: str, template: WarmTemplate | None) -> subprocess.CompletedProcess[str]:
        code = "import extend_path; " if template else ""
        code += "import json, sys; from advantageflow.runtime import run_stage_task; "
        code += "run_stage_task('trial', **json.loads(sys.argv[1]))"
        environment = {**os.environ, "ADVANTAGEFLOW_WARM": str(stages / "no.sock")}
        environment.update(template.environment if template else {})
        command = [sys.executable, "-c", code, json.dumps(arguments(stages, note))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    @pytest.fixture
    def template(self, stages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmTemplate]:
        (stages / "extend_path.py").write_text(
            f"import advantageflow; advantageflow.__path__.append({str(stages / 'stages')!r})"
        )
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(stages), *filter(None, sys.path)]))
        with WarmTemplate(stages / "warm.log", preload=["extend_path", "advantageflow.runtime"]) as template:
            yield template

    def test_a_task_runs_in_a_worker_and_counts_from_its_own_start(self, stages: Path, template: WarmTemplate) -> None:
        task = self.run_task(stages, "", template)
        assert task.returncode == 0, task.stderr
        start, *_, end = read_events(stages / "journal")
        assert (stages / "out").read_text().split()[-1] == str(start["pid"])
        assert start["process_started"] < start["time"]
        assert end["event"] == "end"

    def test_errors_exit_and_are_recorded_as_in_the_tasks_own_process(
        self, stages: Path, template: WarmTemplate
    ) -> None:
        task = self.run_task(stages, "user error", template)
        assert (task.returncode, task.stderr) == (2, "a/prompts: no such prompt\n  what to do: mend it\n")
        assert read_events(stages / "journal")[-1]["kind"] == "DataError"
        task = self.run_task(stages, "bug", template)
        assert task.returncode == 1
        assert "ZeroDivisionError: a bug" in task.stderr

    def test_a_worker_that_cannot_use_a_gpu_leaves_the_stage_to_the_tasks_own_process(
        self, stages: Path, template: WarmTemplate
    ) -> None:
        marks = "import os, torch\nos.register_at_fork(after_in_child=lambda: setattr(torch.cuda, '_is_in_bad_fork', "
        (stages / "driver_initialised.py").write_text(f"{marks}lambda: True))")  # what a torch for CUDA does itself
        with WarmTemplate(stages / "unfit.log", preload=["extend_path", "driver_initialised"]) as unfit:
            task = self.run_task(stages, "", unfit)
        assert task.returncode == 0, task.stderr
        assert task.stderr.startswith("warning: stage trial runs in a process of its own")
        start, *_, end = read_events(stages / "journal")
        assert (stages / "out").read_text().split()[-1] == str(start["pid"])
        assert (start["event"], end["event"]) == ("start", "end")
        assert [event["event"] for event in read_events(stages / "journal")].count("start") == 1

    def test_a_killed_worker_is_told_and_recorded(self, stages: Path, template: WarmTemplate) -> None:
        task = self.run_task(stages, "killed", template)
        assert task.returncode == 2
        assert "the worker process was killed" in task.stderr
        events = read_events(stages / "journal")
        assert [event["event"] for event in events] == ["start", "useful", "progress", "error"]
        assert len({event["task"] for event in events}) == 1

    def test_a_dead_template_is_told_and_recorded(self, stages: Path) -> None:
        task = self.run_task(stages, "", None)
        assert task.returncode == 2
        assert "does not answer" in task.stderr
        assert [event["event"] for event in read_events(stages / "journal")] == ["start", "error"]
