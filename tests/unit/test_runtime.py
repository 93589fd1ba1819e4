"""Running a stage as a pipeline task: arguments, journal, errors and exit statuses."""

from __future__ import annotations

import inspect
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest
from kfp.dsl import Dataset

import advantageflow
from advantageflow.errors import SettingsError
from advantageflow.parameters import locate
from advantageflow.runtime import arguments_of, parse_arguments, run_stage_task
from advantageflow.settings import RewardSettings, RolloutSettings
from advantageflow.tracking.events import read_events

STAGE = """
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_type_hints
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
    out.write_text(f"{settings.column} {prompts.name} {[score.name for score in scores]} {note} {os.getpid()}")
"""


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the package of a stage 'trial', importable as advantageflow.trial here."""
    (tmp_path / "stages" / "trial").mkdir(parents=True)
    (tmp_path / "stages" / "trial" / "stage.py").write_text(textwrap.dedent(STAGE))
    monkeypatch.setattr(advantageflow, "__path__", [*advantageflow.__path__, str(tmp_path / "stages")])
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
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
    parsed = parse_arguments(run, carried)
    assert parsed["settings"].steps == 3
    assert parsed["reward"] == RewardSettings()
    assert type(parsed["seed"]) is int
    assert (parsed["start"], parsed["out"]) == (None, Path("x"))
    assert set(parsed) == {"settings", "reward", "seed", "start", "out"}
    with pytest.raises(SettingsError, match="group_size"):
        parse_arguments(run, {"settings": '{"group_size": 1}'})


def test_what_a_component_is_given_goes_by_the_names_of_run() -> None:
    def run(settings: str, reward: str, *, policy: Path, shards: list[Path], policy_out: Path, seed: int) -> None: ...

    artifacts = {name: Dataset(uri=f"/a/{name}") for name in ("policy", "new_policy", "one", "other")}
    given = {name: artifacts[name] for name in ("policy", "new_policy")} | {"seed": 1, "round_index": 1, "shard": 0}
    given |= {"trial_settings": "{}", "reward_settings": "{}", "shards": [artifacts["one"], artifacts["other"]]}
    arguments, parameters = arguments_of(run, {**given, "column": "soft", "weight": None})
    paths = {"policy": "/a/policy", "policy_out": "/a/new_policy", "shards": ["/a/one", "/a/other"]}
    assert arguments == {"settings": "{}", "reward": "{}", "seed": 1, **paths}
    assert parameters == {"column": "soft"}


def test_a_parameter_holds_instead_of_the_setting_of_its_name_in_the_stage_and_in_the_journal(stages: Path) -> None:
    run_stage_task("trial", column="soft", weight=None, **arguments(stages))
    assert (stages / "out").read_text().startswith("soft ")
    settings = read_events(stages / "journal")[0]["settings"]["settings"]
    assert (settings["column"], settings["weight"]) == ("soft", 1.0)


def test_a_parameter_that_is_not_allowed_is_a_users_error_naming_it(stages: Path) -> None:
    with pytest.raises(SystemExit):
        run_stage_task("trial", weight=-1.0, **arguments(stages))
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


@pytest.mark.parametrize(
    ("component", "module"),
    [
        ("prompts.component:prompts", "prompts.stage"),
        ("rollout.component:rollout", "rollout.stage"),
        ("scoring.component:reward", "scoring.stage"),
        ("training.component:training", "training.stage"),
        ("evaluation.component:evaluation", "evaluation.stage"),
        ("evaluation.component:promotion", "evaluation.promotion"),
        ("loop.component:loop", "loop.stage"),
        ("loop.component:rollout", "loop.shard"),
    ],
)
def test_each_component_gives_its_stage_all_that_it_needs(component: str, module: str) -> None:
    folder, _, name = component.partition(":")
    face = getattr(import_module(f"advantageflow.{folder}"), name).python_func
    run = import_module(f"advantageflow.{module}").run
    arguments, parameters = arguments_of(run, dict.fromkeys(inspect.signature(face).parameters, "x"))
    inspect.signature(run).bind(**arguments)
    settings = get_type_hints(run)["settings"]
    assert all(locate(settings(), parameter) for parameter in parameters.keys() - {"made_for"})
