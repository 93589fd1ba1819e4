"""What the processes of a training are told, in a JSON file that each reads; and what they hand back from elsewhere.

The file is `arguments.json`, in a folder on this machine, or in one published at an address for processes that run on
others: then with the inputs beside it, to which its relative paths lead.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.store.files import publish, read_json, write_json
from advantageflow.store.published import fetch_published
from advantageflow.tracking.journal import current_journal

ARGUMENTS_FILE = "arguments.json"
RESULT_POLICY = "policy"
RESULT_JOURNAL = "journal.jsonl"
SAID_EVENT = "advantageflow event: "  # before an event of the journal in the log of a node
INPUTS = ("prompts", "conditioning", "policy", "latents", "scores")


@dataclass(frozen=True)
class WorkerCall:
    """One training, as JSON-able values.

    Attributes:
        arguments: the stage's, as a pipeline carries them (see `advantageflow.runtime.carried`); relative paths start
            at the file's folder.
        task: id of the task in the journal.
        journal: file that the first process appends its events to; None for no file.
        parent: process id of the task that waits for the processes; None where that is another's business.
        failures: folder or address below which a process that fails publishes why; None to say it on standard error.
        result: address at which the first process publishes what it made: the folder `policy` instead of `policy_out`,
            and the file `journal.jsonl` instead of `journal`; None where those can be written as they are.
        function: of each process, 'package.module:name'; takes the arguments, and the group.
    """

    arguments: dict[str, Any]
    task: str = ""
    journal: str | None = None
    parent: int | None = None
    failures: str | None = None
    result: str | None = None
    function: str = "advantageflow.training.train:train"

    def write(self, folder: Path) -> Path:
        """Write the call into a folder; returns the file.

        Raises:
            StoreError: it cannot be written.
        """
        write_json(folder / ARGUMENTS_FILE, asdict(self))
        return folder / ARGUMENTS_FILE


def read_call(location: str, cache: Path) -> WorkerCall:
    """Read a call, its paths made absolute.

    Args:
        location: of the file, or of the folder in which it is published.
        cache: where what is published elsewhere is copied to.

    Raises:
        StoreError: it is not there, or is not a call.
    """
    file = Path(location) if Path(location).is_file() else fetch_published(location, cache) / ARGUMENTS_FILE
    try:
        call = WorkerCall(**read_json(file))
    except TypeError as error:
        remedy = f"give a file that the training stage wrote ({ARGUMENTS_FILE})"
        raise StoreError(f"is not a call of the training stage: {error}", where=str(file), remedy=remedy) from error
    paths = {
        name: _absolute(value, file.parent) for name, value in call.arguments.items() if name in (*INPUTS, "policy_out")
    }
    return replace(call, arguments=call.arguments | paths)


def receive_result(result: Path, policy_out: Path, told: Collection[str] = ()) -> None:
    """Take over what processes elsewhere have made: the policy, and what they tell the journal.

    Args:
        result: local copy of what they published.
        policy_out: folder of the policy artifact to write.
        told: lines of their journal that were recorded before.

    Raises:
        StoreError: it cannot be read or written.
    """
    with publish(policy_out) as partial:
        shutil.copytree(result / RESULT_POLICY, partial, dirs_exist_ok=True)
    known = set(told)
    for line in (result / RESULT_JOURNAL).read_text(encoding="utf-8").splitlines():
        if line not in known:
            current_journal().repeat(json.loads(line))


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    return str((folder / value).absolute())
