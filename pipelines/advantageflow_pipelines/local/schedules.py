"""Schedules on this machine: cron, or systemd, starts their runs, and each keeps a history; both survive a restart.

~/.local/share/advantageflow/schedules/NAME/schedule.json   what is run, and when
                                           start.sh         what cron or systemd starts
                                           history.jsonl    a line for each start
                                           log              what the runs said
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cronsim import CronSim, CronSimError
from pydantic import Field, ValidationError

from advantageflow.errors import SettingsError, StoreError
from advantageflow.settings_base import Settings
from advantageflow.store.files import append_line, read_json, read_lines, write_json, write_text
from advantageflow_pipelines.local import timers

_MARK = "# advantageflow schedule"
_INSTALL = "install cron (on Debian and Ubuntu: apt install cron) and see that its service runs"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LOOK_FOR_MISSED = "7 * * * *"  # when a schedule that makes up for missed runs looks for them
_ENVIRONMENT = (  # which cron does not pass on; no secrets, which would lie on the disk
    "PATH", "PYTHONPATH", "MLFLOW_TRACKING_URI", "HF_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "AWS_PROFILE",
    "AWS_ENDPOINT_URL_S3", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
_OUTCOMES = ("policy:", "nothing to do:", "error:")  # how the lines begin that say what a run came to


class Schedule(Settings):
    """A schedule."""

    name: str  # of it
    cron: str  # five fields, in this machine's time
    arguments: tuple[str, ...] = Field(strict=False)  # of `advantageflow run`
    folder: str  # that the runs start in
    environment: dict[str, str]  # that they start with
    catch_up: bool = False  # whether a run that was missed, as this machine was off, is made up for, once
    enabled: bool = True  # whether it starts runs
    created: str  # ISO time

    def next_time(self) -> datetime:
        """When it is due next."""
        return next(CronSim(self.cron, now()))

    def write(self) -> None:
        """Keep it, and have the system start its runs, or no longer.

        Raises:
            SettingsError: systemd cannot start it at such times.
            StoreError: it cannot be written, or neither cron nor systemd is there.
        """
        folder, variables = folder_of(self.name), [f"{name}={value}" for name, value in self.environment.items()]
        fire = [sys.executable, "-m", "advantageflow_pipelines", "schedule", "fire", self.name]
        start = f'exec env {shlex.join([*variables, *fire])} "$@" >>{shlex.quote(str(folder / "log"))} 2>&1'
        write_text(folder / "start.sh", f"cd {shlex.quote(self.folder)} || exit\n{start}\n")
        _stop(self.name)
        if self.enabled and shutil.which("crontab") is None and timers.has_timers():
            timers.set_timer(self.name, CronSim(self.cron, now()), folder / "start.sh", persistent=self.catch_up)
        elif self.enabled:
            shell = f"/bin/sh {shlex.quote(str(folder / 'start.sh'))}".replace("%", r"\%")  # where cron ends a command
            missed = [f"{_LOOK_FOR_MISSED} {shell} --if-missed"] if self.catch_up else []
            _set_crontab(self.name, [f"{self.cron} {shell}", *missed])
        write_json(folder / "schedule.json", self.model_dump(mode="json"))


def now() -> datetime:
    """In this machine's time."""
    return datetime.now().astimezone()


def new_schedule(name: str, cron: str, arguments: list[str], *, catch_up: bool) -> Schedule:
    """A schedule of runs that start in this folder.
    Raises SettingsError: the name is taken or invalid, or the expression is not one of cron's with five fields.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"'{name}' is not a name", where="--name", remedy="take letters, digits, '_', '.' and '-'")
    if (folder_of(name) / "schedule.json").exists():
        remedy = f"choose another, or first: advantageflow schedule delete {name}"
        raise SettingsError(f"there is a schedule '{name}' already", where="--name", remedy=remedy)
    try:
        if len(cron.split()) != 5:
            raise CronSimError("it has not five fields")
        CronSim(cron, now())
    except CronSimError as error:
        remedy = "write minute hour day-of-month month day-of-week, as in '0 3 * * *' (every day at 3:00)"
        raise SettingsError(f"not a cron expression: {error}", where=f"--local '{cron}'", remedy=remedy) from error
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return Schedule(
        name=name, cron=cron, arguments=tuple(arguments), folder=os.getcwd(), environment=environment,
        catch_up=catch_up, created=now().isoformat(timespec="seconds"),
    )  # fmt: skip


def folder_of(name: str) -> Path:
    """Where a schedule is kept."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "advantageflow" / "schedules" / name


def find_schedule(name: str) -> Schedule:
    """The schedule of this name.
    Raises SettingsError: there is none, or it is damaged.
    """
    file = folder_of(name) / "schedule.json"
    if not _NAME.fullmatch(name) or not file.exists():
        remedy = "see `advantageflow schedule list`; those of a Kubeflow cluster need --host"
        raise SettingsError(f"there is no schedule '{name}' on this machine", where=str(file.parent), remedy=remedy)
    try:
        return Schedule.model_validate(read_json(file))
    except ValidationError as error:
        raise SettingsError("is damaged", where=str(file), remedy="delete it and create the schedule again") from error


def all_schedules() -> list[Schedule]:
    """Those of this machine, by name."""
    return [find_schedule(file.parent.name) for file in sorted(folder_of("any").parent.glob("*/schedule.json"))]


def delete_schedule(name: str) -> None:
    """Forget a schedule and its history; its runs stay. Raises as find_schedule."""
    find_schedule(name)
    _stop(name)
    shutil.rmtree(folder_of(name))


def history(name: str) -> list[dict[str, Any]]:
    """Each start of a schedule: `due` or `started`, `ended`, `status`, and the `outcome` in words; oldest first."""
    return read_lines(folder_of(name) / "history.jsonl")


def missed(schedule: Schedule) -> bool:
    """Whether a run was due since the last start, and none was started."""
    starts = [entry["started"] for entry in history(schedule.name)]
    since = datetime.fromisoformat(max([schedule.created, *starts], key=datetime.fromisoformat))
    return (now() - next(CronSim(schedule.cron, since))).total_seconds() > 60


def fire(schedule: Schedule) -> int:
    """Run it once, unless its last run goes on; gives the exit status."""
    command = [sys.executable, "-m", "advantageflow_pipelines", "run", *schedule.arguments]
    entry: dict[str, Any] = {"started": now().isoformat(timespec="seconds")}
    with _alone(schedule.name) as alone:
        if not alone:
            _remember(schedule.name, {**entry, "ended": None, "status": None, "outcome": "the run before it goes on"})
            return 0
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603 - a list of arguments, without a shell
        print(done.stdout, flush=True)
        said = [line.strip() for line in done.stdout.splitlines() if line.startswith(_OUTCOMES)]
        entry |= {"ended": now().isoformat(timespec="seconds"), "status": done.returncode}
        _remember(schedule.name, {**entry, "outcome": said[-1] if said else ""})
    return done.returncode


@contextmanager
def _alone(name: str) -> Iterator[bool]:
    with (folder_of(name) / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _remember(name: str, entry: dict[str, Any]) -> None:
    append_line(folder_of(name) / "history.jsonl", json.dumps(entry))


def _stop(name: str) -> None:
    """Have nothing start it any more."""
    if timers.timer_of(name).exists():
        timers.remove_timer(name)
    if shutil.which("crontab") is not None:
        _set_crontab(name, [])


def _set_crontab(name: str, lines: Sequence[str]) -> None:
    """Put lines of crontab(5) in the place of those that a schedule has; none takes them out, all others stay.
    Raises StoreError: there is no crontab command, or it refuses.
    """
    mark = f"{_MARK} {name}"
    others = [line for line in _crontab("-l").splitlines() if not line.endswith(mark)]
    _crontab("-", text="".join(f"{line}\n" for line in (*others, *(f"{line} {mark}" for line in lines))))


def _crontab(*arguments: str, text: str | None = None) -> str:
    if shutil.which("crontab") is None:
        raise StoreError("there is no crontab command on this machine, nor systemd", where="crontab", remedy=_INSTALL)
    done = subprocess.run(["crontab", *arguments], input=text, capture_output=True, text=True, check=False)  # noqa: S603, S607 - a list of arguments, without a shell
    if done.returncode and not done.stderr.lower().startswith("no crontab for"):
        raise StoreError(f"crontab refuses: {done.stderr.strip()}", where="crontab", remedy=_INSTALL)
    return done.stdout
