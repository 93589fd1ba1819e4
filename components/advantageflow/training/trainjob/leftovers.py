"""Where a TrainJob's files lie in the store; jobs and files that outlive their tasks, removed by a run's last task.

A task that is killed removes nothing: the signal that a pod is to end may not get through Argo's and Kubeflow's
programs to the task's own process, or not in time. The cluster would not remove the job either, as the task's pod,
which owns it, stays for its log to be read.

Argo may not start the last task of a run that somebody cancels. Then the job's own deadline ends it, or a person:
kubectl delete trainjobs -l pipeline/runid=ID; and the last task of a later run removes its files.
"""

from __future__ import annotations

import logging

from advantageflow.store.published import folders_below, join, remove_below
from advantageflow.tracking.kubeflow import ask_state, mlflow_status
from advantageflow.training.trainjob.cluster import connect
from advantageflow.training.trainjob.spec import run_label

_TRAINJOBS = "trainjobs"  # folder of the store

logger = logging.getLogger(__name__)


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
