"""TrainJobs that outlive their tasks, removed by the last task of their pipeline run.

A task that is killed removes nothing: the signal that a pod is to end may not get through Argo's and Kubeflow's
programs to the task's own process. The cluster would not remove the job either, as the task's pod, which owns it,
stays for its log to be read.

Argo may not start the last task of a run that somebody terminates (kubeflow/pipelines issue 6101). Then the job's own
deadline ends it, or a person: kubectl delete trainjobs -l pipeline/runid=ID.
"""

from __future__ import annotations

import logging

from advantageflow.training.trainjob.cluster import connect
from advantageflow.training.trainjob.files import JobFiles
from advantageflow.training.trainjob.spec import run_label

logger = logging.getLogger(__name__)


def remove_left_jobs() -> None:
    """Delete the TrainJobs of this process's pipeline run, and their files in the store.

    Raises:
        SettingsError: there is no cluster.
        ClusterError: the cluster refuses, or cannot be reached.
        StoreError: files cannot be removed; the jobs are gone.
    """
    run = run_label()
    if not run:  # started by hand: no job says that it is of this run
        return
    cluster = connect()
    left = cluster.jobs_of(run)
    for job in left:
        logger.warning("TrainJob %s was left, and is deleted", job["metadata"]["name"])
        cluster.delete(job["metadata"]["name"])
    for job in left:
        trainer = job["spec"]["trainer"]
        root, _, _ = trainer["args"][-1].rpartition("/")  # the last argument is the address of the inputs
        JobFiles(root, trainer["numNodes"] * trainer["numProcPerNode"]).remove()
