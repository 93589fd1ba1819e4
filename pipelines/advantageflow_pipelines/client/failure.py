"""What a person needs to read of a run on a cluster that did not succeed: the stage, its own error, what to do next."""

from __future__ import annotations

from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.follow import Followed
from advantageflow_pipelines.client.pods import pod_logs
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.runs import FAILED
from advantageflow_pipelines.client.stages import pipeline_tasks

_LINES = 15  # of a pod's log
_NO_REASON = "Kubeflow gives no reason"
_TOO_LARGE = (
    "No task did, but its last one did not come: it may have grown beyond what Argo keeps of a run; "
    "`advantageflow plan` says what one takes"
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
    name, stage = (f"run {run.run_id}", "") if task is None else (task.name, f" {task.stage}")
    reason = task and records.own_words(task)
    if not reason:
        reason = records.reason(run) or (task and task.error and task.error["message"]) or run.error or _NO_REASON
        logs = pod_logs(api.namespace, run.run_id, task.stage, lines=_LINES) if task else {}
        reason = "\n".join([reason, *(f"the end of pod {pod}:\n{text}" for pod, text in logs.items())])
        if task is None and not any(one.stage == "closing" for one in followed.tasks.values()):
            reason = f"{reason}. {_TOO_LARGE}"
    lines = [
        f"{name} failed: {reason}",
        f"  its log: advantageflow runs logs {run.run_id}{stage} {api.options}",
        f"  its page: {api.connection.run_page(run.run_id)}",
        retry,
    ]
    asked = pipeline_tasks(run.spec).get(task.stage, {}).get("retryPolicy", {}).get("maxRetryCount", 0) if task else 0
    if task is not None and task.attempt == 1 and int(asked):
        lines.insert(1, f"  {_NOT_TRIED_AGAIN}")
    return "\n".join(lines)
