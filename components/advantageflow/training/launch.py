"""Training in several processes of this machine: starting them, waiting for them, ending them.

They are started by torch's elastic agent, which torchrun and, for GPUs, `accelerate launch` are command lines of. Not
through accelerate, as that starts several processes without GPUs only where MPI is installed, and lets a file in the
user's home change what is run. `accelerate launch -m advantageflow.training.worker` works all the same.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from advantageflow.runtime import carried
from advantageflow.settings import ModelSettings, TrainingSettings
from advantageflow.tracking.journal import current_journal
from advantageflow.training.call import ProcessFailed, WorkerCall, first_failure
from advantageflow.training.group import check_gpus

WORKER = "advantageflow.training.worker"
_SECONDS_TO_END = 600  # for a gradient step and a checkpoint; a node that goes leaves less, and ends all of it itself
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def train_in_processes(
    settings: TrainingSettings, model: ModelSettings, arguments: dict[str, Any], function: str = WorkerCall.function
) -> None:
    """Run the training in `settings.processes` processes, the first of which writes the policy and the journal.

    Args:
        settings: number of processes.
        model: whose device they train on; each takes a GPU of its own.
        arguments: of the training.
        function: what each process calls, see WorkerCall.

    Raises:
        SettingsError: there are not enough GPUs.
        UserError: whatever a process raised; the first one counts.
        ProcessFailed: a process failed otherwise.
        Preempted: this process was asked to end, and the training has kept a checkpoint.
    """
    if model.device == "cuda":
        check_gpus(settings.processes)
    journal = current_journal()
    with tempfile.TemporaryDirectory(prefix="advantageflow-training-") as name:
        folder = Path(name)
        told = str(journal.path) if journal.path else None
        failures = str(folder / "failures")
        call = WorkerCall(
            carried(arguments), journal.task, told, parent=os.getpid(), failures=failures, function=function
        )
        ended_by = _run(settings.processes, call.write(folder), failures)
    if ended_by is not None:
        os.kill(os.getpid(), ended_by)  # what this process would have done without others to see to


def _run(processes: int, arguments: Path, failures: str) -> signal.Signals | None:
    """Start the processes and wait for them; returns the signal that ended them, if that is what happened."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", local_addr="localhost", run_id=arguments.parent.name,
        shutdown_timeout=_SECONDS_TO_END,
    )  # fmt: skip
    try:
        with _as_before():
            elastic_launch(config, sys.executable)("-m", WORKER, "--arguments", str(arguments))
    except ChildFailedError as error:
        statuses = {rank: failure.exitcode for rank, failure in error.failures.items()}
        reason = first_failure(failures, statuses)
        raise reason or ProcessFailed(f"processes failed, by rank: {statuses}") from None
    except SignalException as error:
        preempted = first_failure(failures)
        if preempted is not None:
            raise preempted from None
        return error.sigval
    return None


@contextmanager
def _as_before() -> Iterator[None]:
    """The agent replaces handlers of signals for good, and logs at length what is then raised as one error."""
    agent = logging.getLogger("torch.distributed.elastic")
    level, handlers = agent.level, {number: signal.getsignal(number) for number in _HANDLED}
    agent.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        agent.setLevel(level)
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
