"""`advantageflow schedule` on this machine; a script that keeps a file stands in for the system's crontab command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cronsim import CronSim

from advantageflow_pipelines.local import schedules, timers
from advantageflow_pipelines.local.schedules import find_schedule, fire, history, missed

Command = Callable[..., tuple[int, str, str]]
CRONTAB = """#!/bin/sh
case "$1" in
  -l) cat "$CRONTAB_FILE" 2>/dev/null || { echo "no crontab for me" >&2; exit 1; } ;;
  -) cat > "$CRONTAB_FILE" ;;
esac
"""
PATH = {"PATH": os.environ["PATH"]}
CREATE = ("schedule", "create", "--local", "0 3 * * *", "--name", "nightly")
RUN = ("--pipeline", "retraining", "--preset", "tiny", "--set", "seed=7", "--set", "prompts.replay_share=0.3")


@pytest.fixture(autouse=True)
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds this user's crontab, with a line of somebody's own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "crontab").write_text(CRONTAB)
    (programs / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("CRONTAB_FILE", str(tmp_path / "crontab"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "100%"))
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    (tmp_path / "crontab").write_text("0 1 * * * backup\n")
    return tmp_path / "crontab"


def lines(crontab: Path) -> list[str]:
    return [line for line in crontab.read_text().splitlines() if line != "0 1 * * * backup"]


def test_cron_gets_a_line_that_starts_the_run_where_it_was_made(
    advantageflow: Command, crontab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = advantageflow(*CREATE, *RUN)
    assert (status, err) == (0, "")
    assert "next " in out
    [line] = lines(crontab)
    assert line.startswith("0 3 * * * /bin/sh ")
    assert r"100\%" in line, "where cron would end the command"
    command = line.removeprefix("0 3 * * * ").partition(" #")[0].replace(r"\%", "%")
    monkeypatch.setattr(schedules, "sys", SimpleNamespace(executable="/bin/echo"))
    find_schedule("nightly").write()
    subprocess.run(["/bin/sh", "-c", f"{command} --if-missed"], check=True)
    said = (schedules.folder_of("nightly") / "log").read_text()
    assert said == "-m advantageflow_pipelines schedule fire nightly --if-missed\n"
    assert (schedules.folder_of("nightly") / "start.sh").read_text().startswith(f"cd {tmp_path} || exit\n")
    started: list[list[str]] = []
    monkeypatch.setattr(schedules.subprocess, "run", lambda command, **_: started.append(command) or DONE)
    assert fire(find_schedule("nightly")) == 0
    assert started[0][2:] == ["advantageflow_pipelines", "run", *RUN]
    [entry] = history("nightly")
    assert (entry["status"], entry["outcome"]) == (0, "nothing to do: all is as it was")
    status, out, _ = advantageflow("schedule", "history", "nightly")
    assert "nothing to do: all is as it was" in out


DONE = subprocess.CompletedProcess([], 0, "0 rounds\nnothing to do: all is as it was\n", "")


def test_a_schedule_is_listed_paused_resumed_and_deleted_and_other_lines_stay(
    advantageflow: Command, crontab: Path
) -> None:
    advantageflow(*CREATE, *RUN, "--catch-up")
    assert [line.split(" /bin/sh ")[0] for line in lines(crontab)] == ["0 3 * * *", "7 * * * *"]
    assert "--if-missed" in lines(crontab)[1]
    assert advantageflow("schedule", "pause", "nightly")[0] == 0
    assert lines(crontab) == []
    assert "paused" in advantageflow("schedule", "list")[1]
    assert advantageflow("schedule", "resume", "nightly")[0] == 0
    assert len(lines(crontab)) == 2
    listed = advantageflow("schedule", "list")[1]
    assert all(words in listed for words in ("nightly", "0 3 * * *", "made up for", "--pipeline retraining"))
    assert advantageflow("schedule", "delete", "nightly")[0] == 0
    assert crontab.read_text() == "0 1 * * * backup\n"
    assert "no schedules on this machine" in advantageflow("schedule", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("schedule", "create", "--local", "0 0 3 * * *", "--name", "n"), "it has not five fields"),
        (("schedule", "create", "--local", "0 33 * * *", "--name", "n"), "not a cron expression"),
        (("schedule", "create", "--local", "0 3 * * *", "--name", "a b"), "'a b' is not a name"),
        ((*CREATE, "--resources", "cpu"), "a run on this machine has no such option"),
        ((*CREATE, "--preset", "tinny"), "did you mean 'tiny'"),
        (("schedule", "pause", "weekly"), "there is no schedule 'weekly' on this machine"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_kept(
    arguments: tuple[str, ...], words: str, advantageflow: Command, crontab: Path
) -> None:
    status, _, err = advantageflow(*arguments)
    assert (status, words in err) == (2, True), err
    assert lines(crontab) == []


def test_a_run_that_was_missed_is_known_until_it_is_made_up_for(advantageflow: Command) -> None:
    advantageflow(*CREATE, "--catch-up")
    made = find_schedule("nightly")
    assert not missed(made)
    long_ago = datetime.fromisoformat(made.created) - timedelta(days=3)
    made = made.model_copy(update={"created": long_ago.isoformat()})
    assert missed(made)
    entry = {"started": schedules.now().isoformat(), "ended": None, "status": 0, "outcome": ""}
    (schedules.folder_of("nightly") / "history.jsonl").write_text(json.dumps(entry) + "\n")
    assert not missed(made)


def test_without_cron_a_timer_of_systemd_starts_the_runs(
    advantageflow: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    (programs / "crontab").rename(programs / "systemctl")
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\n[ ! -e refuses ] || exit 1\n')
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(timers.os, "geteuid", lambda: 1000)
    assert advantageflow(*CREATE, *RUN, "--catch-up")[0] == 0
    timer = tmp_path / "config/systemd/user/advantageflow-nightly.timer"
    assert "OnCalendar=*-*-* 3:0:00\nPersistent=true\n" in timer.read_text()
    service = timer.with_suffix(".service").read_text()
    assert f'ExecStart=/bin/sh "{tmp_path}/100%%/advantageflow/schedules/nightly/start.sh"\n' in service
    assert calls.read_text() == "--user daemon-reload\n--user enable --now advantageflow-nightly.timer\n"
    assert advantageflow("schedule", "pause", "nightly")[0] == 0
    assert "--user disable --now advantageflow-nightly.timer" in calls.read_text()
    assert not list(timer.parent.iterdir())
    (tmp_path / "refuses").touch()
    status, _, err = advantageflow("schedule", "resume", "nightly")
    assert (status, "systemd refuses" in err, list(timer.parent.iterdir())) == (2, True, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("cron", ["0 3 * * *", "*/15 8-18/2 * * mon-fri", "30 4 1,15 * 5", "5 0 31 1-3 *"])
def test_a_timer_is_due_when_cron_would_be(cron: str) -> None:
    times = CronSim(cron, datetime.now(UTC))
    said = [
        subprocess.run(
            ["systemd-analyze", "calendar", one], capture_output=True, text=True, check=True, env={"TZ": "UTC"} | PATH
        ).stdout
        for one in timers.calendar_of(times)
    ]
    found = [re.search(r"Next elapse: \w+ (\S+ \S+) UTC", one) for one in said]
    due = min(datetime.fromisoformat(f"{one[1]}+00:00") for one in found if one)
    assert due == next(times)


def test_without_cron_a_schedule_is_refused_with_the_remedy(
    advantageflow: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    status, _, err = advantageflow(*CREATE)
    assert (status, "install cron" in err) == (2, True)
    assert "no schedules" in advantageflow("schedule", "list")[1]
