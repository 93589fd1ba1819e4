"""This user's crontab: the lines of one name are put in or taken out, all others stay as they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from advantageflow.errors import StoreError

_MARK = "# advantageflow schedule"
_INSTALL = "install cron (on Debian and Ubuntu: apt install cron) and see that its service runs"


def set_lines(name: str, lines: Sequence[str]) -> None:
    """Put lines in the place of those that a schedule has; none takes them out.

    Args:
        name: of the schedule.
        lines: of crontab(5), without a comment.

    Raises:
        StoreError: there is no crontab command, or it refuses.
    """
    mark = f"{_MARK} {name}"
    others = [line for line in _run("-l").splitlines() if not line.endswith(mark)]
    _run("-", text="".join(f"{line}\n" for line in (*others, *(f"{line} {mark}" for line in lines))))


def _run(*arguments: str, text: str | None = None) -> str:
    if shutil.which("crontab") is None:
        raise StoreError("there is no crontab command on this machine", where="crontab", remedy=_INSTALL)
    done = subprocess.run(["crontab", *arguments], input=text, capture_output=True, text=True, check=False)  # noqa: S603, S607 - a list of arguments, without a shell
    if done.returncode and not done.stderr.lower().startswith("no crontab for"):
        raise StoreError(f"crontab refuses: {done.stderr.strip()}", where="crontab", remedy=_INSTALL)
    return done.stdout
