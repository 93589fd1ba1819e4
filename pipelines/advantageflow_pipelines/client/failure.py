"""What a person needs to read of a run on a cluster that did not succeed: the stage, its own error, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.follow import Followed
from advantageflow_pipelines.client.pods import pod_logs
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.runs import FAILED

_LINES = 15  # of a pod's log
_NO_REASON = "Kubeflow gives no reason"
_TOO_LARGE = (
    "no task did, but its last one did not come, and Kubeflow gives no reason: it may have grown beyond what Argo "
    "keeps of a run (`advantageflow plan` says what a run takes)"
)
_NOT_TRIED_AGAIN = (
    "It was not tried again, though its resources ask for that (retries): as shipped, Kubeflow 2.17 tries again only "
    "what is lost with its pod. infra/README.md has what an administrator changes (Retries)."
)


def explain(api: Api, followed: Followed, records: Records) -> str:
    """The report on a run that is over and did not succeed.

    The reason is the stage's own error by MLflow; else the last lines of its pods; else what Kubeflow says.
    """
    run, task = followed.run, followed.failed
    retry = f"  submit what is missing: advantageflow runs retry {run.run_id} {api.options}"
    if run.state != FAILED:
        return f"run {run.run_id} was {run.word}.\n{retry}"
    name = f"run {run.run_id}" if task is None else task.name
    reason = records.own_words(run, task) or (task and task.error and task.error["message"]) or run.error
    if not reason and task is not None:
        logs = pod_logs(api.namespace, run.run_id, task.stage, lines=_LINES)
        reason = "\n".join(f"the end of pod {pod}:\n{text}" for pod, text in logs.items())
    if task is None and not any(one.stage == "closing" for one in followed.tasks.values()):
        reason = reason or _TOO_LARGE
    stage = "" if task is None else f" {task.stage}"
    lines = [
        f"{name} failed: {reason or _NO_REASON}",
        f"  its log: advantageflow runs logs {run.run_id}{stage} {api.options}",
        f"  its page: {api.connection.run_page(run.run_id)}",
        retry,
    ]
    if task is not None and task.attempt == 1 and task.stage in _retried(run.spec):
        lines.insert(1, f"  {_NOT_TRIED_AGAIN}")
    return "\n".join(lines)


def _retried(spec: Mapping[str, Any]) -> set[str]:
    """The stages whose tasks are to be tried again."""
    pipeline = spec.get("pipeline_spec", spec)
    parts = [pipeline.get("root", {}), *pipeline.get("components", {}).values()]
    tasks = {name: task for part in parts for name, task in part.get("dag", {}).get("tasks", {}).items()}
    return {name for name, task in tasks.items() if int(task.get("retryPolicy", {}).get("maxRetryCount", 0)) > 0}
