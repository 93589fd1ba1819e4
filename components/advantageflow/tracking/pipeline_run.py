"""The MLflow run of a whole pipeline run on a cluster: tasks that know nothing of each other find it by its tag.

The pipeline's first task opens it, its last one, or others later, close it (`lifecycle`). And what the run of a whole
pipeline has in MLflow already, so that it can be brought there again, and nothing twice (`Earlier`).
"""

import math
import os
from collections.abc import Iterable, Mapping

from advantageflow.annotations import MlflowClient, Run
from advantageflow.tracking.kubeflow import pipeline_address
from advantageflow.tracking.mlflow_store import home_experiment, tracking_errors
from advantageflow.tracking.provenance import origin_tags
from advantageflow.tracking.ui import NAME_TAG

MISSING_TAG = "advantageflow.missing"  # of a task's run: MLflow did not take all of it
_ENDS = ("FINISHED", "FAILED")
PIPELINE_RUN_ENV = "ADVANTAGEFLOW_PIPELINE_RUN_ID"  # the Kubeflow run
PRESET_ENV = "ADVANTAGEFLOW_PRESET"
NAME_ENV, NOTE_ENV = "ADVANTAGEFLOW_RUN_NAME", "ADVANTAGEFLOW_RUN_NOTE"  # of the run, where a person gave them
PIPELINE_RUN_TAG = "kfp.pipeline_run_id"  # these two are named as Kubeflow's own plug-in for MLflow names them
PIPELINE_URL_TAG = "kfp.pipeline_run_url"
FINAL_STATE_TAG = "kfp.final_state"  # by which the run was closed, in Kubeflow's words; stays when it is opened again
IMAGES_ENV = "ADVANTAGEFLOW_IMAGES"  # that the tasks run in, by name and digest
REGISTERED_MODEL_ENV = "ADVANTAGEFLOW_REGISTERED_MODEL"  # of which the run's policy becomes a version
REGISTERED_MODEL_TAG = "advantageflow.registered_model"
FIRST_RUN_TAG = "advantageflow.first_run"  # the pipeline run that a run began with, where several continue each other
LAST_TASK_TAG = "advantageflow.last_task"  # name of the run of the task that ends the pipeline's work
NOTE_TAG = "mlflow.note.content"  # which MLflow shows as the run's description
CACHED_TAG = "advantageflow.from_cache"
EARLIER_TAG = "advantageflow.earlier_pipeline_runs"  # of which a later pipeline run made what was missing

_PICTURES = "pictures"
_OURS = "version.advantageflow"  # which Kubeflow's plug-in does not write
_LONGEST_TAG = 5000
_NEWEST = 200
_MOST = 10_000  # experiments, and attempts of a run
_FROM_CACHE = (
    "Kubeflow took the results of all stages from its cache: nothing was computed in this run, and no stage is "
    "recorded under it. The curves are those of the earlier run with the same settings."
)
_KILLED = "its container was ended from outside: killed, out of memory, or lost with its node"
_UNKNOWN = (
    "a task failed of which nothing is recorded: its container never began, or Kubeflow's API server was away when it "
    "ended"
)


def find_pipeline_run(client: MlflowClient, pipeline: str) -> Run | None:
    """The MLflow run of a pipeline run, in any experiment; None where nobody opened one.

    Kubeflow's plug-in opens runs in an experiment of its own.
    """
    return _find_tagged(client, PIPELINE_RUN_TAG, pipeline)


def _find_tagged(client: MlflowClient, tag: str, value: str) -> Run | None:
    runs = client.search_runs(_experiments(client), f"tags.`{tag}` = '{value}'")
    return min(runs, key=lambda run: (run.info.start_time, str(run.info.run_id)), default=None)


def find_or_open(
    client: MlflowClient, tracking_uri: str, pipeline: str, tags: Mapping[str, str], first_run: str = ""
) -> Run:
    """The MLflow run of a pipeline run, opened if there is none, with these tags beside its origin; for tasks that run
    alone.

    `first_run` is the pipeline run that this one continues, itself or through others (empty if none): its run in MLflow
    becomes this one's, and is open.
    """
    found = find_pipeline_run(client, pipeline)
    preset, address = os.environ.get(PRESET_ENV), pipeline_address(pipeline)
    told = {"preset": preset, PIPELINE_URL_TAG: address, REGISTERED_MODEL_TAG: os.environ.get(REGISTERED_MODEL_ENV)}
    told["images"] = os.environ.get(IMAGES_ENV)
    tags = {**tags, **{name: value for name, value in told.items() if value}}
    if found is None and first_run:
        found = _find_tagged(client, FIRST_RUN_TAG, first_run)
        if found is not None and found.info.status != "RUNNING":  # healed between two segments
            client.update_run(found.info.run_id, status="RUNNING")
            client.delete_tag(found.info.run_id, FINAL_STATE_TAG)
    tags |= {PIPELINE_RUN_TAG: pipeline, FIRST_RUN_TAG: first_run or pipeline}
    if found is None:
        note = [tags.get(NOTE_TAG), f"[Pipeline run {pipeline} in Kubeflow]({address})" if address else None]
        tags |= {NOTE_TAG: "\n\n".join(filter(None, note))} if any(note) else {}
        name = tags.get(NAME_TAG) or f"{preset or 'pipeline'} {pipeline}"
        tags = {**origin_tags(), **tags, "mlflow.source.type": "JOB"}
        return client.create_run(home_experiment(client, tracking_uri), tags=tags, run_name=name)
    if NAME_TAG in tags and NAME_TAG not in found.data.tags:  # Kubeflow's plug-in opened it, under the pipeline's name
        client.update_run(found.info.run_id, name=tags[NAME_TAG])
    for name, value in tags.items():
        client.set_tag(found.info.run_id, name, value)
    return found


def last_attempts(client: MlflowClient, run: Run) -> dict[str, Run]:
    """The runs of the pipeline's tasks by name, of each task the last attempt."""
    return {task.info.run_name: task for task in task_runs(client, run)}


def task_runs(client: MlflowClient, run: Run) -> list[Run]:
    """The runs of all attempts at the pipeline's tasks, in the order that they began."""
    tasks = [child for child in _children(client, run.info.experiment_id, run.info.run_id) if not _is_pictures(child)]
    return sorted(tasks, key=lambda task: (task.info.start_time, task.info.end_time or math.inf))


def pictures_run(client: MlflowClient, experiment: str, run_id: str) -> str:
    """The run that holds the pictures of a pipeline's run, made if need be.

    MLflow prints a run's params above each of its pictures: this one has none.
    """
    found = [child for child in _children(client, experiment, run_id) if _is_pictures(child)]
    if not found:
        tags = {"mlflow.parentRunId": run_id, "stage": _PICTURES}
        made = client.create_run(experiment, tags=tags, run_name=_PICTURES)
        client.set_terminated(made.info.run_id)
        found = [child for child in _children(client, experiment, run_id) if _is_pictures(child)]  # by others at once
    return str(min(found, key=lambda child: (child.info.start_time, child.info.run_id)).info.run_id)


def _children(client: MlflowClient, experiment: str, run_id: str) -> list[Run]:
    return list(client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'", max_results=_MOST))


def _is_pictures(child: Run) -> bool:
    return child.data.tags.get("stage") == _PICTURES


def close(client: MlflowClient, run: Run, status: str, state: str, message: str | None = None) -> None:
    """End a pipeline's run, and those of its tasks that never ended.

    Its status is 'FINISHED', 'FAILED' or 'KILLED', in MLflow's words; `state` that by which it is known, in Kubeflow's;
    `message` what Kubeflow says of a failure, for want of a task that says more.
    """
    run_id, tasks = run.info.run_id, task_runs(client, run)
    attempts = {task.info.run_name: task for task in tasks}
    reason = (_reason(attempts) or message or _UNKNOWN)[:_LONGEST_TAG] if status == "FAILED" else None
    if reason:
        client.set_tag(run_id, "error", reason)
    elif "error" in run.data.tags:
        client.delete_tag(run_id, "error")  # of an earlier end
    last = {task.info.run_id for task in attempts.values()}
    for task in tasks:
        if task.info.status == "RUNNING":
            # Kubeflow saw a last attempt succeed whose end was not recorded.
            whole = status == "FINISHED" and task.info.run_id in last
            client.set_terminated(task.info.run_id, "FINISHED" if whole else "KILLED")
    if status == "FINISHED" and not attempts:
        client.set_tag(run_id, CACHED_TAG, "all")
        client.set_tag(run_id, NOTE_TAG, "\n\n".join(filter(None, (_FROM_CACHE, run.data.tags.get(NOTE_TAG)))))
    if status == "FINISHED" and attempts and EARLIER_TAG not in run.data.tags:  # else nobody ran it for a while
        spans = [(task.info.start_time, task.info.end_time or task.info.start_time) for task in tasks]
        client.log_metric(run_id, "seconds/kubeflow", idle_seconds(run.info.start_time, spans))
    client.set_tag(run_id, FINAL_STATE_TAG, state)
    client.set_terminated(run_id, status)


def hand_over(client: MlflowClient, pipeline: str, again: str) -> bool:
    """Have another pipeline run, none of whose tasks has begun, continue the MLflow run of one that is over.
    Raises TrackingError: MLflow cannot be read or written.

    The run is open again, and ends as the other pipeline run does. Gives whether there is one that this package opened;
    others keep their own.
    """
    with tracking_errors(client.tracking_uri):
        run = find_pipeline_run(client, pipeline)
        if run is None or _OURS not in run.data.tags:
            return False
        for name in {FINAL_STATE_TAG, "error"} & set(run.data.tags):
            client.delete_tag(run.info.run_id, name)
        earlier = [run.data.tags[EARLIER_TAG]] if EARLIER_TAG in run.data.tags else []
        client.set_tag(run.info.run_id, EARLIER_TAG, " ".join([*earlier, pipeline]))
        client.set_tag(run.info.run_id, PIPELINE_RUN_TAG, again)
        client.update_run(run.info.run_id, status="RUNNING")
    return True


def newest_pipeline_runs(client: MlflowClient) -> list[Run]:
    """The newest runs of pipelines that this package opened, in all experiments."""
    ours = f"tags.`{PIPELINE_RUN_TAG}` != '' AND tags.`{_OURS}` != ''"
    newest = ["attributes.start_time DESC"]
    return list(client.search_runs(_experiments(client), ours, max_results=_NEWEST, order_by=newest))


def idle_seconds(began: int, spans: Iterable[tuple[int, int]]) -> float:
    """Seconds in which no task ran, up to the end of the last one: what Kubeflow takes to start and end tasks.

    The run's beginning, and start and end of each task, are in milliseconds.
    """
    idle, at = 0, began
    for start, end in sorted(spans):
        idle += max(0, start - at)
        at = max(at, end)
    return idle / 1000


def _experiments(client: MlflowClient) -> list[str]:
    return [experiment.experiment_id for experiment in client.search_experiments(max_results=_MOST)]


def _reason(attempts: Mapping[str, Run]) -> str:
    """What the tasks tell of a failure; nothing where all that is recorded went well."""
    failed = [(name, task) for name, task in attempts.items() if task.info.status == "FAILED"]
    lost = [name for name, task in attempts.items() if task.info.status in ("RUNNING", "KILLED")]
    told = [f"{name}: {task.data.tags.get('error', 'failed')}" for name, task in failed]
    return "; ".join([*told, *(f"{name}: {_KILLED}" for name in lost)])


class Earlier:
    """The records that the run of a whole pipeline has in MLflow already."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._points: dict[str, set[int]] = {}
        self._pictures: list[str] | None = None
        found = task_runs(client, client.get_run(run_id))
        self._tasks = {task.data.tags["task"]: task for task in found if "task" in task.data.tags}

    def run_of(self, task: str) -> str | None:
        """The id of a task's run; None where it has none."""
        found = self._tasks.get(task)
        return None if found is None else str(found.info.run_id)

    def has_all_of(self, task: str) -> bool:
        """Whether a task ended and nothing that it told is missing."""
        found = self._tasks.get(task)
        return found is not None and found.info.status in _ENDS and found.data.tags.get(MISSING_TAG) != "true"

    def has_point(self, name: str, step: int) -> bool:
        """Whether a curve of the whole run has a point there."""
        if name not in self._points:
            self._points[name] = {point.step for point in self._client.get_metric_history(self._run_id, name)}
        return step in self._points[name]

    def has_picture(self, run_id: str, key: str, step: int) -> bool:
        """Whether the run that holds the pictures has one there; MLflow writes '~' for a slash in its file's name."""
        if self._pictures is None:
            self._pictures = [str(file.path) for file in self._client.list_artifacts(run_id, "images")]
        return any(name.startswith(f"images/{key.replace('/', '~')}+step+{step}+") for name in self._pictures)
