"""What the processes of a training are told, in a JSON file that each reads; and what they hand back from elsewhere.

The file is `arguments.json`, in a folder on this machine, or in one published at an address for processes that run on
others: then with the inputs beside it, to which its relative paths lead.

Each process that fails publishes why, and what came first is the reason: the others then fail too, with errors of their
connection, or are ended. Their logs say it as well, but after it comes what torchrun and the others have to say.
"""

import json
import shutil
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from advantageflow import errors
from advantageflow.errors import StoreError, TrainingError, UserError
from advantageflow.store.files import publish, read_json, write_json
from advantageflow.store.places import place_of
from advantageflow.store.published import fetch_published
from advantageflow.store.s3_client import WRITE_ATTEMPTS
from advantageflow.tracking.journal import current_journal, error_fields

ARGUMENTS_FILE = "arguments.json"
RESULT_POLICY = "policy"
RESULT_JOURNAL = "journal.jsonl"
SAID_EVENT = "advantageflow event: "  # before an event of the journal in the log of a node
_STOPS = (signal.SIGTERM, signal.SIGINT)
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
        """Write the call into a folder; returns the file."""
        write_json(folder / ARGUMENTS_FILE, asdict(self))
        return folder / ARGUMENTS_FILE


def read_call(location: str, cache: Path) -> WorkerCall:
    """Read a call, its paths made absolute. Raises StoreError: it is not there, or is not a call.

    Args:
        location: of the file, or of the folder in which it is published.
        cache: where what is published elsewhere is copied to.
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


class ProcessFailed(RuntimeError):
    """A process failed by no mistake of the user's."""


def publish_failure(url: str, rank: int, error: BaseException) -> None:
    """Say why the process of this rank failed, below an address that all processes of a training share."""
    told = {"time": time.time(), "rank": rank, **error_fields(error)}
    place_of(url, WRITE_ATTEMPTS).write(str(rank), json.dumps(told).encode())


def first_failure(url: str, statuses: Mapping[int, int] = {}) -> Exception | None:
    """The error that made a group of processes fail. Raises StoreError: the store cannot be read.

    Args:
        url: below which they said why.
        statuses: by rank, exit statuses of those that failed, where they are known; negative: the signal that killed
            it.

    Returns:
        A user's mistake, if there is one, as the first process raised it; else the death of a process that was killed;
        else the first error. None if none said why.
    """
    place = place_of(url)
    contents = [place.read(path) for path in place.files() if path.isdecimal()]
    told = sorted((json.loads(one) for one in contents if one is not None), key=lambda failure: failure["time"])
    for failure in told:
        if failure["traceback"] is None:
            kind = getattr(errors, failure["kind"], UserError)
            mistake: UserError = kind(failure["message"], where=failure["where"], remedy=failure["remedy"])
            return mistake
    for rank, status in statuses.items():
        if status < 0 and -status not in _STOPS:
            remedy = "signal 9 often means that memory ran out: lower training.microbatch or training.processes"
            message = f"process {rank} was killed by signal {-status}"
            return TrainingError(message, where="training.processes", remedy=remedy)
    return ProcessFailed(f"process {told[0]['rank']} failed:\n{told[0]['traceback']}") if told else None
