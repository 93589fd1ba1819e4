"""One of the processes that train together: `python -m advantageflow.training.worker --arguments FILE_OR_ADDRESS`.

The only entry point of such processes, whoever starts them: the training stage on its own machine, `accelerate launch`,
or torchrun in the pods of a TrainJob. They find each other by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.

What trains takes seconds to import, and is imported only once this process is sure to end with the one that started it.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from advantageflow.errors import SettingsError, UserError
from advantageflow.processes import end_with_parent, wait_asleep
from advantageflow.runtime import exit_status, parse_arguments
from advantageflow.store.published import publish_folder
from advantageflow.store.s3 import cache_folder
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training.call import (
    RESULT_JOURNAL,
    RESULT_POLICY,
    SAID_EVENT,
    WorkerCall,
    publish_failure,
    read_call,
)


def main() -> None:
    """Take part in a training; exit status 2 after a user's mistake, 75 when preempted, 1 after any other failure."""
    parser = argparse.ArgumentParser(description="one process of a training")
    parser.add_argument("--arguments", required=True, help="a call's file, or the folder in which it is published")
    location = parser.parse_args().arguments
    if "RANK" not in os.environ:
        parser.error(
            "RANK is not set: start it with torchrun or accelerate launch, as `-m advantageflow.training.worker`"
        )
    rank = int(os.environ["RANK"])
    wait_asleep()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who waits for this process tells what happened
    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    call = WorkerCall({})
    try:
        call = read_call(location, cache_folder())
        end_with_parent(call.parent)
        take_part(call)
    except Exception as error:
        if call.failures is not None:
            publish_failure(call.failures, rank, error)
        elif isinstance(error, UserError):
            print(error, file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        sys.exit(exit_status(error) if isinstance(error, UserError) else 1)


def take_part(call: WorkerCall) -> None:
    """Train as one of the group that the environment names.
    Raises SettingsError: it is of another size than the settings say.
    """
    from advantageflow.training.group import joined

    module, _, name = call.function.partition(":")
    train = getattr(import_module(module), name)
    arguments = parse_arguments(train, call.arguments)
    wanted = arguments["settings"].processes * arguments["settings"].nodes
    with joined(arguments["model"].device) as group:
        if group.size != wanted:  # sums would be of other parts than those that results are named after
            remedy = "start as many, or set training.processes and training.nodes to what is started"
            raise SettingsError(f"{group.size} processes, and not {wanted}", where="training.processes", remedy=remedy)
        if not group.first:
            train(**arguments, group=group)
            return
        with _outputs(call, arguments["policy_out"]) as (journal, policy_out), journal_in_use(journal):
            train(**{**arguments, "policy_out": policy_out}, group=group)


class _SpokenJournal(Journal):
    """Says each event on standard error too, where the task that waits for the nodes hears it at once."""

    progress_interval = 5.0

    def write(self, line: str) -> None:
        super().write(line)
        print(f"{SAID_EVENT}{line}", file=sys.stderr, flush=True)


@contextmanager
def _outputs(call: WorkerCall, policy_out: Path) -> Iterator[tuple[Journal, Path]]:
    """Where the first process writes; what has to go elsewhere is published at the end."""
    if call.result is None:
        yield Journal(call.task, Path(call.journal) if call.journal else None), policy_out
        return
    with tempfile.TemporaryDirectory(prefix="advantageflow-training-") as name:
        folder = Path(name)
        yield _SpokenJournal(call.task, folder / RESULT_JOURNAL), folder / RESULT_POLICY
        publish_folder(folder, call.result)


if __name__ == "__main__":
    main()
