"""Stage tasks that publish themselves to MLflow, and what is read back of them there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.lifecycle import open_pipeline_run

LAST = "round 2 / training"
_KILLED = """
import os, signal, sys, time
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.mlflow_store import open_client
with stage_journal("rollout", 1, int(sys.argv[1])) as journal:
    client = open_client(os.environ["MLFLOW_TRACKING_URI"])
    home = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"]).experiment_id
    while not client.search_runs([home], f"tags.task = '{journal.task}'"):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def open_run(last_task: str = LAST, first_run: str = "", page: Path | None = None) -> None:
    """Do the work of the pipeline's first task."""
    settings = {"training": {"steps": 6}, "reward": {"column": "soft"}, "seed": 7}
    open_pipeline_run(settings, last_task, first_run, page)


def run_task(round_index: int, value: float = 0.5, shard: int | None = None) -> None:
    """Do the work of a stage task, in this process."""
    settings = {"settings": {"steps": 6}, "reward": {"column": "soft"}, "seed": 7}
    with stage_journal("training", round_index, shard, settings) as journal:
        journal.useful()
        journal.metrics({"train/loss": value}, parent=True)


def fail_task(round_index: int) -> None:
    """A stage task that ends with an error of its own."""
    try:
        with stage_journal("training", round_index):
            raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        pass


def kill_task(shard: int) -> None:
    """A stage task in a process of its own, which is killed as soon as MLflow knows of it."""
    done = subprocess.run([sys.executable, "-c", _KILLED, str(shard)], env=os.environ, check=False)
    assert done.returncode == -9


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    """All runs of an experiment, given by its name."""
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def parent_of(client: MlflowClient, experiment: str) -> Run:
    """The one run of a pipeline in an experiment."""
    [parent] = [run for run in runs_of(client, experiment) if "kfp.pipeline_run_id" in run.data.tags]
    return parent


def children_of(client: MlflowClient, parent: Run) -> dict[str, str]:
    """Status of each task's run by name."""
    tagged = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = client.search_runs([parent.info.experiment_id], tagged)
    return {child.info.run_name: child.info.status for child in children}
