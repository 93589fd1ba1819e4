"""A training over several nodes: a Kubeflow TrainJob that this task starts, follows to its end, and removes.

What the nodes read and make passes through the store, below `<store.url>/trainjobs/<pipeline run>/<key>`:

    inputs/     the stage's arguments and input artifacts, published before the job starts
    result/     the policy and the journal's events, published by the first process of the nodes
    failures/   why a process failed, by rank

Events of the journal also come through the log of the first node, while it trains.

The key names the task: one that is tried again ends the job of an earlier attempt, which may still run where nobody
waits for it, removes what its pods left, and starts its own job, which goes on from the last checkpoint. Job and files
are removed when the task ends, if it can see to that: one that Kubeflow ends has less than a second, in which the job
goes. The rest is removed by the pipeline's last task, or that of a later run (`remove_leftovers`): the signal that a
pod is to end may not get through Argo's and Kubeflow's programs to the task's own process, or not in time, and the
cluster does not remove the job, as the task's pod, which owns it, stays for its log to be read. Argo may not start the
last task of a run that somebody cancels: then the job ends at its deadline, the task's own timeout, or a person ends
it: kubectl delete trainjobs -l pipeline/runid=ID.
"""

import contextlib
import hashlib
import json
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from advantageflow.errors import Preempted, SettingsError, UserError
from advantageflow.runtime import carried
from advantageflow.settings import TrainingSettings
from advantageflow.store.manifest import files_of
from advantageflow.store.published import fetch_published, folders_below, join, publish_files, remove_below
from advantageflow.tracking.journal import Journal, current_journal
from advantageflow.tracking.kubeflow import ask_state, mlflow_status
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV
from advantageflow.training.call import INPUTS, WorkerCall, first_failure, receive_result
from advantageflow.training.preemption import when_asked_to_end
from advantageflow.training.trainjob.cluster import Cluster, connect
from advantageflow.training.trainjob.follow import JobFailed, follow_to_its_end
from advantageflow.training.trainjob.spec import RUNTIME, check_resources, run_label, train_job

_TRAINJOBS = "trainjobs"  # folder of the store
IMAGE_ENV = "ADVANTAGEFLOW_TRAINING_IMAGE"
TIMEOUT_ENV = "ADVANTAGEFLOW_TRAINING_TIMEOUT"  # seconds that this task has
_PATIENCE_AT_THE_END = 60.0  # seconds that the API may be away; what is left then others remove
_WEEK = 7 * 86_400  # longer than any round should take; what is left behind by mistake ends by then

logger = logging.getLogger(__name__)


def train_on_nodes(
    settings: TrainingSettings, store: str, arguments: Mapping[str, Any], task_config: Mapping[str, Any] | None
) -> None:
    """Train on `settings.nodes` nodes, `settings.processes` processes on each, and write the policy here.

    Args:
        arguments: of the training, as the stage takes them.
        task_config: what Kubeflow gives this task in resources, nodes and environment, for the nodes to have.

    Raises:
        SettingsError: there is no image for the nodes, or no cluster; or the task's timeout is not a number.
        ClusterError: the cluster refuses, or cannot be reached; names the right or object that is missing.
        UserError: whatever a process on a node raised; the first one counts.
        TrainingError: the job failed otherwise, with what its pods said last; somebody deleted it; or it has not ended
            by its deadline, which counts what it waits in a queue.
        StoreError: inputs or result cannot be written or read.
        Preempted: this task was asked to end, or a node was.
    """
    image = os.environ.get(IMAGE_ENV)
    if not image:
        remedy = f"set {IMAGE_ENV} to the training stage's image; compiled pipelines do"
        raise SettingsError("there is no image for the nodes of the training", where=IMAGE_ENV, remedy=remedy)
    cluster = connect()
    key = _key(arguments)
    root = files_of_job(store, key)
    inputs, result, failures = (join(root, name) for name in ("inputs", "result", "failures"))
    name, deadline, task_config = f"advantageflow-{key}", _deadline(), task_config or {}
    check_resources(f"TrainingRuntime {cluster.namespace}/{RUNTIME}", cluster.runtime(RUNTIME), task_config)
    heard = _Heard(current_journal())
    asked = when_asked_to_end(partial(_end, name), then=signal.SIG_IGN)
    with asked, _removed_at_the_end(cluster, name, root):
        cluster.end_earlier(name)
        remove_below(root)  # its pods say why they fail while they end, after it has cleaned up
        _publish_inputs(arguments, inputs, failures, result)
        cluster.create(train_job(name, image, settings.nodes, settings.processes, inputs, deadline, task_config))
        logger.info("TrainJob %s: %d nodes of %d processes", name, settings.nodes, settings.processes)
        try:
            resumed = partial(_forget_failures, failures)
            follow_to_its_end(cluster, name, deadline, resumed=resumed, event=heard.record)
        except JobFailed as error:
            reason = first_failure(failures)
            raise (reason if isinstance(reason, UserError) else error) from None
        with tempfile.TemporaryDirectory(prefix="advantageflow-trainjob-") as cache:
            receive_result(fetch_published(result, Path(cache)), Path(arguments["policy_out"]), heard.lines)


def _deadline() -> int:
    """Seconds after which the job has failed: there is nobody to wait for it when the task's own time is over."""
    told = os.environ.get(TIMEOUT_ENV) or str(_WEEK)
    if not told.isdecimal() or int(told) == 0:
        remedy = "leave it unset, or set it to the task's timeout in seconds; compiled pipelines do"
        raise SettingsError(f"'{told}' is not a number of seconds above 0", where=TIMEOUT_ENV, remedy=remedy)
    return int(told)


def _key(arguments: Mapping[str, Any]) -> str:
    """Equal for all attempts at a task, and different for all else that may run at the same time."""
    told = carried(arguments)
    run = os.environ.get(PIPELINE_RUN_ENV)
    if run:  # the attempts' pods may have other paths
        told = {name: value for name, value in told.items() if not isinstance(arguments[name], Path | list)}
    text = json.dumps([run, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _publish_inputs(arguments: Mapping[str, Any], to: str, failures: str, result: str) -> None:
    """Publish the input artifacts with the call of the worker, whose paths lead to them."""
    inputs: dict[str, Any] = {"policy_out": "policy_out"}
    files: dict[str, Path] = {}
    for name in INPUTS:
        several = isinstance(arguments[name], list)
        folders = {f"{name}/{n}": one for n, one in enumerate(arguments[name])} if several else {name: arguments[name]}
        inputs[name] = list(folders) if several else name
        files |= {f"{at}/{path}": file for at, folder in folders.items() for path, file in files_of(folder).items()}
    call = WorkerCall(carried(arguments) | inputs, task=current_journal().task, failures=failures, result=result)
    with tempfile.TemporaryDirectory(prefix="advantageflow-trainjob-") as folder:
        file = call.write(Path(folder))
        publish_files(files | {file.name: file}, to)


class _Heard:
    """The events of the nodes' journal that were recorded as they came; the result, which has all, may never come.

    Attributes:
        lines: that were heard.
    """

    def __init__(self, journal: Journal) -> None:
        self.lines: set[str] = set()
        self._journal = journal
        self._steps: set[int] = set()

    def record(self, line: str) -> None:
        """Record an event; not the steps that nodes tell again which went on from a checkpoint."""
        try:
            event = json.loads(line)
        except ValueError:  # cut short in the log
            return
        self.lines.add(line)
        step = event.get("step") if event["event"] == "metrics" and not event["parent"] else None
        if step is not None:
            if step in self._steps:
                return
            self._steps.add(step)
        self._journal.repeat(event)


def _forget_failures(failures: str) -> None:
    """What processes said that were taken off their nodes is not why those after them fail."""
    try:
        remove_below(failures)
    except UserError as error:
        logger.warning("if the training fails, it may be said why it was taken off its nodes instead: %s", error)


def _end(name: str) -> None:
    """On a first SIGTERM, so that the job is removed; further ones do not disturb that."""
    remedy = "run it again: it goes on from the last checkpoint, where training.checkpoint_every keeps some"
    raise Preempted("was asked to end, and removes its TrainJob", where=f"TrainJob {name}", remedy=remedy)


@contextlib.contextmanager
def _removed_at_the_end(cluster: Cluster, name: str, files: str) -> Iterator[None]:
    """Remove job and files after the block; what cannot be removed is told, and hides nothing that was raised."""
    try:
        yield
    finally:
        try:
            cluster.delete(name, patience=_PATIENCE_AT_THE_END)
        except UserError as error:
            logger.warning("the TrainJob may still be there: %s", error)
        try:
            remove_below(files)
        except UserError as error:
            logger.warning("files of the TrainJob are left: %s", error)


def files_of_job(store: str, key: str) -> str:
    """The address below which the files of the job of this key lie: `<store>/trainjobs/<pipeline run>/<key>`."""
    return join(store, _TRAINJOBS, *filter(None, [run_label()]), key)


def remove_leftovers(store: str) -> None:
    """Delete the TrainJobs of this process's pipeline run, and files of it and of runs before it that have ended.

    Raises:
        SettingsError: there is no cluster.
        ClusterError: the cluster refuses, or cannot be reached.
        StoreError: files cannot be removed; the jobs are gone.
    """
    run = run_label()
    if not run:  # started by hand: no job says that it is of this run
        return
    cluster = connect()
    for job in cluster.jobs_of(run):
        logger.warning("TrainJob %s was left, and is deleted", job["metadata"]["name"])
        cluster.delete(job["metadata"]["name"])
    for folder in folders_below(join(store, _TRAINJOBS)):
        if folder == run or mlflow_status(ask_state(folder) or "") is not None:
            logger.warning("files of a TrainJob of run %s were left, and are removed", folder)
            remove_below(join(store, _TRAINJOBS, folder))
