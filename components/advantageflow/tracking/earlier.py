"""What an earlier attempt brought of a run to MLflow: so that it can be brought there again, and nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advantageflow.tracking.pipeline_run import task_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

MISSING_TAG = "advantageflow.missing"  # of a task's run: MLflow did not take all of it
_ENDS = ("FINISHED", "FAILED")


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
