"""Timers of systemd, which start the runs of a schedule where the system has no crontab command."""

import os
import shutil
import subprocess
from pathlib import Path

from cronsim import CronSim

from advantageflow.errors import SettingsError, StoreError
from advantageflow.store.files import write_text, writing

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def has_timers() -> bool:
    """Whether there is a systemctl command."""
    return shutil.which("systemctl") is not None


def timer_of(name: str) -> Path:
    """The unit file of a schedule's timer: the user's own, root's are the system's."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = config / "systemd" / "user" if _users_own() else Path("/etc/systemd/system")
    return folder / f"advantageflow-{name}.timer"


def set_timer(name: str, times: CronSim, script: Path, *, persistent: bool) -> None:
    """Write a timer and its service, and switch the timer on.

    Args:
        name: of the schedule.
        times: when it is due.
        script: of the shell, that is started.
        persistent: whether it is started once for the times at which this machine was off.

    Raises:
        SettingsError: a timer cannot have such times.
        StoreError: a unit cannot be written; systemd is not there, or refuses.
    """
    title = f"[Unit]\nDescription=advantageflow schedule {name}\n\n"
    quoted = str(script).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    timer = [f"OnCalendar={one}" for one in calendar_of(times)] + [f"Persistent={str(persistent).lower()}"]
    path = timer_of(name)
    write_text(path.with_suffix(".service"), f'{title}[Service]\nType=oneshot\nExecStart=/bin/sh "{quoted}"\n')
    write_text(path, "\n".join([f"{title}[Timer]", *timer, "\n[Install]", "WantedBy=timers.target", ""]))
    try:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", path.name)
    except StoreError:
        path.unlink()
        path.with_suffix(".service").unlink()
        raise
    if _users_own() and shutil.which("loginctl"):  # a user's timers end with the last session but for this
        subprocess.run(["loginctl", "enable-linger"], capture_output=True, check=False)  # noqa: S607 - as crontab


def remove_timer(name: str) -> None:
    """Switch a timer off and remove its units; raises as set_timer."""
    path = timer_of(name)
    _systemctl("disable", "--now", path.name)
    with writing(path):
        path.with_suffix(".service").unlink(missing_ok=True)
        path.unlink()
    _systemctl("daemon-reload")


def calendar_of(times: CronSim) -> list[str]:
    """Times as systemd.time(7) writes them: two calendar events where cron means days of the month or of the week.
    Raises SettingsError: they hold what only some crons know, such as the last day of a month.
    """
    weekdays = sorted(day for day in times.weekdays if isinstance(day, int))
    if len(weekdays) < len(times.weekdays) or min(times.days) < 0:
        raise SettingsError("a timer of systemd has no such time", where="--local", remedy="name the days by numbers")
    fields = {60: times.minutes, 24: times.hours, 31: times.days, 12: times.months}  # by how many values it may have
    minutes, hours, days, months = (
        "*" if len(field) == most else ",".join(map(str, sorted(field))) for most, field in fields.items()
    )
    named = dict.fromkeys(_DAYS[day] for day in weekdays)
    week = "" if len(named) == 7 else f"{','.join(named)} "
    if times.day_and:
        return [f"{week}*-{months}-{days} {hours}:{minutes}:00"]
    return [f"*-{months}-{days} {hours}:{minutes}:00", f"{week}*-{months}-* {hours}:{minutes}:00"]


def _users_own() -> bool:
    return os.geteuid() != 0


def _systemctl(*arguments: str) -> None:
    command = ["systemctl", *(["--user"] if _users_own() else []), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a list of arguments, without a shell
    if done.returncode:
        remedy = "start systemd, or install cron (on Debian and Ubuntu: apt install cron) and see that its service runs"
        raise StoreError(f"systemd refuses: {done.stderr.strip()}", where=" ".join(command), remedy=remedy)
