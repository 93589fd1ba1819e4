"""Why a run stopped: the stage's own words, else the end of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.errors import DataError
from advantageflow.tracking.events import JOURNAL_ENV, read_events
from advantageflow.tracking.journal import stage_journal
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.tasks import Tasks, explain_failure, log_tail
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkDir:
    made = create_workdir(tmp_path / "run", choose_settings(preset="tiny"))
    monkeypatch.setenv(JOURNAL_ENV, str(made.journal))
    return made


def fail(error: Exception) -> None:
    with pytest.raises(type(error)), stage_journal("reward", 2, 0):
        raise error


def tasks(workdir: WorkDir) -> Tasks:
    return Tasks(read_events(workdir.journal))


def test_a_user_s_mistake_is_told_in_the_stage_s_own_words(workdir: WorkDir) -> None:
    fail(DataError("the spec has no 'include'", where="prompts.jsonl:3", remedy="add one"))
    failure = explain_failure(workdir, tasks(workdir))
    assert failure.by_user
    assert str(failure).splitlines()[:3] == [
        "round 2 reward, shard 1 failed.",
        "prompts.jsonl:3: the spec has no 'include'",
        "  what to do: add one",
    ]
    assert f"advantageflow run --resume {workdir.root}" in str(failure)


def test_a_fault_of_the_program_is_told_with_its_traceback(workdir: WorkDir) -> None:
    fail(ZeroDivisionError("by zero"))
    failure = explain_failure(workdir, tasks(workdir))
    assert not failure.by_user
    assert "Traceback" in str(failure)
    assert "ZeroDivisionError: by zero" in str(failure)


def test_of_a_task_that_was_killed_the_end_of_the_log_is_told(workdir: WorkDir) -> None:
    workdir.log_file.write_text(
        "\n".join(f"line {number}" for number in range(100)) + "\n\n-----\n\x1b[91mkilled\x1b[0m\n"
    )
    with stage_journal("training", 1):
        running = tasks(workdir)
    failure = explain_failure(workdir, running)
    assert "round 1 training ended without a word" in str(failure)
    assert "  line 99\n  killed\n" in str(failure)
    assert "line 1\n" not in str(failure)


def test_a_log_that_was_never_written_is_no_second_failure(workdir: WorkDir) -> None:
    assert log_tail(workdir.log_file) == ""
    assert "The pipeline failed" in str(explain_failure(workdir, Tasks()))
